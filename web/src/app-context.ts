import { createContext, useContext } from 'react';
import type { Api } from './api/client';

export const ApiContext = createContext<Api | undefined>(undefined);

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error('useApi outside the signed-in page');
  return api;
}
