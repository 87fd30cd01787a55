import { memo } from 'react';

/** Line icons on a 20-unit grid, drawn for this page. */
const PATHS = {
  arrow: 'M4 10h12M11 5l5 5-5 5',
  back: 'M16 10H4M9 5l-5 5 5 5',
  check: 'M4 10.500l4 4 8-9',
  chevron: 'M5 7.500l5 5 5-5',
  close: 'M5 5l10 10M15 5L5 15',
  chat: 'M4 4.500h12a1 1 0 0 1 1 1v7.500a1 1 0 0 1-1 1H9l-4 3v-3H4a1 1 0 0 1-1-1V5.500a1 1 0 0 1 1-1z',
  send: 'M10 16V4M5 9l5-5 5 5',
  stop: 'M6 6h8v8H6z',
  redo: 'M15.500 6.500A6.500 6.500 0 1 0 16.500 10M16 3v4h-4',
  download: 'M10 3v9M6 8.500l4 4 4-4M4 16h12',
  copy: 'M7 7V4h9v9h-3M4 7h9v9H4z',
  print: 'M6 8V3h8v5M6 14H3.500V8h13v6H14M6 12h8v5H6z',
  trash: 'M4 6h12M8 6V3.500h4V6M5.500 6l.7 10.500h7.600L14.500 6',
  more: 'M4.500 10h.01M10 10h.01M15.500 10h.01',
  sun: 'M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100',
  moon: 'M16.500 12A7 7 0 0 1 8 3.500a7 7 0 1 0 8.500 8.500z',
  auto: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 3v14M10 6.500h5.500M10 10h7M10 13.500h5.500',
  clock: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 6v4l2.500 2',
  book: 'M10 5.500C8 4 5.500 3.700 3 4v11.500c2.500-.3 5 0 7 1.500 2-1.500 4.500-1.800 7-1.500V4c-2.500-.3-5 0-7 1.500zM10 5.500V17',
  link: 'M8.500 11.500l3-3M7 9L5 11a2.800 2.800 0 0 0 4 4l2-2M13 11l2-2a2.800 2.800 0 0 0-4-4L9 7',
  key: 'M7 9.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM9.500 10.500L16.500 3.500M13.500 6.500l2.500 2.500',
  warn: 'M10 3.500L17.500 16.500h-15zM10 8v4M10 14.200v.1',
  spark: 'M10 3l1.700 5.300L17 10l-5.300 1.700L10 17l-1.700-5.300L3 10l5.300-1.700z',
  shield: 'M10 3l6 2v5c0 3.500-2.500 5.800-6 7-3.500-1.200-6-3.500-6-7V5zM7.300 10l2 2 3.500-4',
  out: 'M12 4H5v12h7M9 10h8M14 7l3 3-3 3',
  minus: 'M5 10h10',
  plus: 'M5 10h10M10 5v10',
  list: 'M4 5.500h12M4 10h12M4 14.500h8',
} as const;

export type IconName = keyof typeof PATHS;

export const Icon = memo(function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      className="icon"
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth={name === 'more' ? 2.4 : 1.6}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
});

/** The mark: 助 in chalk on a small blackboard. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <span className="logo" style={{ width: size, height: size, fontSize: size * 0.56 }} aria-hidden="true">
      助
    </span>
  );
}
