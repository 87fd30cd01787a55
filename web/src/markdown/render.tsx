import { Fragment, memo, useMemo, type ReactNode } from 'react';
import { CiteChip } from '../plan/CiteChip';
import { Formula, isLong } from './Formula';
import { parseBlocks, parseInline, type Block, type Inline } from './parse';

/** One line of text: formulas, emphasis, citation marks. */
export const Rich = memo(function Rich({ text }: { text: string }) {
  const nodes = useMemo(() => parseInline(text), [text]);
  return <>{inline(nodes)}</>;
});

/** A text of several blocks. */
export const Markdown = memo(function Markdown({ text, className }: { text: string; className?: string }) {
  const nodes = useMemo(() => parseBlocks(text), [text]);
  return <div className={className ? `prose ${className}` : 'prose'}>{nodes.map((node, i) => block(node, i))}</div>;
});

/** What must not begin a line. Browsers keep it with a word, but not with a citation mark or a formula. */
const CLOSING = /^[，。、；：！？）》」』”’…,.;:!?)]+/;

function closingAfter(nodes: Inline[], i: number): string {
  const next = nodes[i + 1];
  return next?.type === 'text' ? (CLOSING.exec(next.text)?.[0] ?? '') : '';
}

/** Whether the punctuation after this node is shown with it. A long formula scrolls, and has no room for more. */
const keepsClosing = (node: Inline | undefined): boolean =>
  node?.type === 'cite' || (node?.type === 'math' && !node.display && !isLong(node.tex));

function inline(nodes: Inline[]): ReactNode {
  return nodes.map((node, i) => {
    switch (node.type) {
      case 'text':
        return <Fragment key={i}>{keepsClosing(nodes[i - 1]) ? node.text.replace(CLOSING, '') : node.text}</Fragment>;
      case 'math':
        return keepsClosing(node) ? (
          <span key={i} className="one-piece">
            <Formula tex={node.tex} display={false} />
            {closingAfter(nodes, i)}
          </span>
        ) : (
          <Formula key={i} tex={node.tex} display={node.display} />
        );
      case 'strong':
        return <strong key={i}>{inline(node.children)}</strong>;
      case 'em':
        return <em key={i}>{inline(node.children)}</em>;
      case 'code':
        return <code key={i}>{node.text}</code>;
      case 'break':
        return <br key={i} />;
      case 'cite':
        return (
          <span key={i} className="cites">
            <CiteChip id={node.key} />
            {closingAfter(nodes, i)}
          </span>
        );
    }
  });
}

const HEADINGS = ['h4', 'h5', 'h6'] as const;

function block(node: Block, key: number): ReactNode {
  switch (node.type) {
    case 'paragraph':
      return <p key={key}>{inline(node.children)}</p>;
    case 'heading': {
      // The page's own headings are above: a text starts at the fourth level.
      const Tag = HEADINGS[Math.min(Math.max(node.level - 2, 0), 2)] ?? 'h6';
      return <Tag key={key}>{inline(node.children)}</Tag>;
    }
    case 'list': {
      // In a list of one-paragraph items, the paragraphs would only add space.
      const items = node.items.map((item, i) => {
        const [first, ...rest] = item;
        return (
          <li key={i}>
            {first?.type === 'paragraph' ? inline(first.children) : first ? block(first, 0) : null}
            {rest.map((child, n) => block(child, n + 1))}
          </li>
        );
      });
      return node.ordered ? (
        <ol key={key} start={node.start}>
          {items}
        </ol>
      ) : (
        <ul key={key}>{items}</ul>
      );
    }
    case 'table':
      return (
        <div key={key} className="table-scroll">
          <table>
            <thead>
              <tr>
                {node.header.map((cell, i) => (
                  <th key={i} style={{ textAlign: node.align[i] }}>
                    {inline(cell)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {node.rows.map((row, r) => (
                <tr key={r}>
                  {row.map((cell, i) => (
                    <td key={i} style={{ textAlign: node.align[i] }}>
                      {inline(cell)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    case 'quote':
      return <blockquote key={key}>{node.children.map((child, i) => block(child, i))}</blockquote>;
    case 'code':
      return <pre key={key}>{node.text}</pre>;
    case 'math':
      return <Formula key={key} tex={node.tex} display />;
    case 'rule':
      return <hr key={key} />;
  }
}
