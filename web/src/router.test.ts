import { describe, expect, it } from 'vitest';
import { parseRoute } from './router';

describe('parseRoute', () => {
  it.each([
    ['', { name: 'start' }],
    ['#/', { name: 'start' }],
    ['#/new', { name: 'new' }],
    ['#/plans/0193a5c2-7b1e-7c3a-9d42-1f0a6b7c8d90', { name: 'plan', id: '0193a5c2-7b1e-7c3a-9d42-1f0a6b7c8d90' }],
    ['#/plans/../x', { name: 'start' }],
    ['#/signin?token=a%2Bb_c', { name: 'signin', token: 'a+b_c' }],
    ['#/signin', { name: 'signin', token: undefined }],
  ])('%s', (hash, route) => expect(parseRoute(hash)).toEqual(route));
});
