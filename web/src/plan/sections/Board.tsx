import { memo } from 'react';
import { Markdown } from '../../markdown/render';
import { Empty } from './lists';

export const Board = memo(function Board({ text }: { text: string }) {
  if (text.trim() === '') return <Empty />;
  return (
    <div className="board">
      <Markdown text={text} />
    </div>
  );
});
