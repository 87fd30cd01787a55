/**
 * Checks what the server sent where it enters the page, so that the rest of the code can rely on its types. A decoder
 * ignores fields that it does not know: the server may be newer than a page that is still open.
 */
export type Decoder<T> = (value: unknown, path: string) => T;
export type Infer<D> = D extends Decoder<infer T> ? T : never;

/** The server sent something that is not what the contract says. */
export class DecodeError extends Error {
  constructor(
    readonly path: string,
    readonly expected: string,
    value: unknown,
  ) {
    super(`${path || 'the answer'}: expected ${expected}, got ${value === null ? 'null' : typeof value}`);
    this.name = 'DecodeError';
  }
}

export const string: Decoder<string> = (value, path) => {
  if (typeof value !== 'string') throw new DecodeError(path, 'a string', value);
  return value;
};

export const number: Decoder<number> = (value, path) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new DecodeError(path, 'a number', value);
  return value;
};

export const boolean: Decoder<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw new DecodeError(path, 'a boolean', value);
  return value;
};

/** A missing field and `null` both read as `undefined`. */
export const optional =
  <T>(inner: Decoder<T>): Decoder<T | undefined> =>
  (value, path) =>
    value === undefined || value === null ? undefined : inner(value, path);

export const withDefault =
  <T>(inner: Decoder<T>, fallback: T): Decoder<T> =>
  (value, path) =>
    value === undefined || value === null ? fallback : inner(value, path);

export const array =
  <T>(inner: Decoder<T>): Decoder<T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) throw new DecodeError(path, 'a list', value);
    return value.map((item: unknown, index) => inner(item, `${path}[${index}]`));
  };

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const record =
  <T>(inner: Decoder<T>): Decoder<Record<string, T>> =>
  (value, path) => {
    if (!isRecord(value)) throw new DecodeError(path, 'an object', value);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inner(item, `${path}.${key}`)]));
  };

export const object =
  <T extends Record<string, unknown>>(fields: { [K in keyof T]: Decoder<T[K]> }): Decoder<T> =>
  (value, path) => {
    if (!isRecord(value)) throw new DecodeError(path, 'an object', value);
    const result: Partial<T> = {};
    for (const key of Object.keys(fields) as (keyof T & string)[]) {
      result[key] = fields[key](value[key], path ? `${path}.${key}` : key);
    }
    return result as T;
  };

/** One of a closed set of strings; with a fallback, anything else reads as that. */
export const oneOf =
  <const T extends string>(values: readonly T[], fallback?: T): Decoder<T> =>
  (value, path) => {
    const known = values.find((candidate) => candidate === value);
    if (known !== undefined) return known;
    if (fallback !== undefined) return fallback;
    throw new DecodeError(path, `one of ${values.join(', ')}`, value);
  };

/** The first decoder that accepts the value. */
export const either =
  <A, B>(first: Decoder<A>, second: Decoder<B>): Decoder<A | B> =>
  (value, path) => {
    try {
      return first(value, path);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return second(value, path);
    }
  };

export function parseJson<T>(text: string, decoder: Decoder<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new DecodeError('', 'JSON', text);
  }
  return decoder(value, '');
}
