import type { ReactNode } from 'react';
import type { LessonSections, SectionName } from '../../api/types';
import { Assessment } from './Assessment';
import { Board } from './Board';
import { Homework } from './Homework';
import { Difficulties, KeyPoints, Misconceptions, Objectives, Prerequisites, Standards } from './lists';
import { Procedure } from './Procedure';

/** The layout of each section's content. */
export function sectionBody(name: SectionName, sections: Partial<LessonSections>): ReactNode {
  const { objectives, standards, prerequisites, key_points, difficulties, misconceptions, procedure, board, homework, assessment } =
    sections;
  switch (name) {
    case 'objectives':
      return objectives && <Objectives items={objectives} />;
    case 'standards':
      return standards && <Standards items={standards} />;
    case 'prerequisites':
      return prerequisites && <Prerequisites items={prerequisites} />;
    case 'key_points':
      return key_points && <KeyPoints items={key_points} />;
    case 'difficulties':
      return difficulties && <Difficulties items={difficulties} />;
    case 'misconceptions':
      return misconceptions && <Misconceptions items={misconceptions} />;
    case 'procedure':
      return procedure && <Procedure steps={procedure} />;
    case 'board':
      return board !== undefined && <Board text={board} />;
    case 'homework':
      return homework && <Homework homework={homework} />;
    case 'assessment':
      return assessment && <Assessment criteria={assessment} />;
  }
}
