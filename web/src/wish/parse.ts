import type { Language, Subject } from '../api/types';
import { readNumber } from './numerals';

/** What a teacher's sentence says about the lesson; a field is missing when the sentence does not say it. */
export interface Wish {
  topic: string;
  subject?: Subject;
  grade?: number;
  minutes?: number;
  language?: Language;
  /** What remains: wishes about the lesson, not about its subject matter. */
  notes?: string;
}

const NUM = '[零〇一二两三四五六七八九十百\\d]+';

const GRADE_RULES: readonly [RegExp, (match: RegExpExecArray) => number | undefined][] = [
  [/(?:小学)?([一二三四五六七八九]|[1-9])年级(?:[上下](?:册|学期)?)?/, (m) => readNumber(m[1] ?? '')],
  [/初([一二三123])(?:[上下](?:册|学期)?)?/, (m) => offset(m[1], 6)],
  [/高([一二三123])(?:[上下](?:册|学期)?)?/, (m) => offset(m[1], 9)],
  [/\bgrade[\s-]*(\d{1,2})\b/i, (m) => readNumber(m[1] ?? '')],
  [/\b(\d{1,2})(?:st|nd|rd|th)[\s-]*grade(?:rs?)?\b/i, (m) => readNumber(m[1] ?? '')],
  [/\bG(\d{1,2})\b/, (m) => readNumber(m[1] ?? '')],
];

const MINUTE_RULES: readonly [RegExp, (match: RegExpExecArray) => number | undefined][] = [
  [new RegExp(`(${NUM})\\s*分钟`), (m) => readNumber(m[1] ?? '')],
  [/(\d+)[\s-]*min(?:ute)?s?\b\.?/i, (m) => readNumber(m[1] ?? '')],
  [/(\d+)\s*[′']/, (m) => readNumber(m[1] ?? '')],
  [/半(?:个)?小时/, () => 30],
  [/(?:一|1)(?:个)?小时/, () => 60],
  [/\bhalf an hour\b/i, () => 30],
  [/\b(?:one|an|1)[\s-]hour\b/i, () => 60],
];

/** Names of subjects; `topics` are words that give a subject away without naming it. First match wins. */
const SUBJECT_WORDS: readonly { subject: Subject; names: RegExp; topics: RegExp }[] = [
  { subject: 'ai', names: /人工智能|\bAI\b|artificial intelligence/i, topics: /机器学习|神经网络|大模型|提示词|machine learning|neural network/i },
  { subject: 'chemistry', names: /化学|chemistry/i, topics: /化合价|氧化|酸碱|溶液的|元素周期|分子和原子|质量守恒|\bions?\b|oxidation/i },
  { subject: 'physics', names: /物理|physics/i, topics: /浮力|压强|牛顿|欧姆|电路|电流|光的折射|光的反射|凸透镜|杠杆|buoyancy|pressure|circuit|newton/i },
  { subject: 'biology', names: /生物学?|biology/i, topics: /光合作用|细胞|遗传|生态系统|photosynthesis|\bcells?\b|ecosystem/i },
  { subject: 'chinese', names: /语文/, topics: /古诗|文言文|作文|散文|记叙文|议论文|阅读理解|背影|岳阳楼记/ },
  {
    subject: 'math',
    names: /数学|\bmath(?:s|ematics)?\b/i,
    topics:
      /方程|函数|不等式|三角形|四边形|勾股|有理数|实数|整式|分式|根式|因式分解|相似|全等|概率|统计|数列|几何|代数|绝对值|平方|坐标|equation|function|triangle|pythagor|algebra|geometry|polynomial|fraction|probability|inequalit/i,
  },
  { subject: 'english', names: /英语/, topics: /一般(?:现在|过去|将来)时|现在进行时|现在完成时|定语从句|宾语从句|被动语态|present (?:simple|perfect)|past tense|passive voice/i },
];

const LANGUAGE_RULES: readonly [RegExp, Language][] = [
  [/(?:请)?用(?:英文|英语)(?:来)?(?:写|备课?|授课|教学|上课?)?|英文(?:版|授课|教案)|\bin english\b/i, 'en'],
  [/(?:请)?用(?:中文|汉语)(?:来)?(?:写|备课?|授课|教学|上课?)?|中文(?:版|授课)|\bin chinese\b/i, 'zh-CN'],
];

const FILLER_BEFORE: readonly RegExp[] = [
  /^(?:你好|您好|助教|老师|hi|hello|hey)\s*/i,
  /^(?:请|麻烦|劳驾|能不能|能否|可以|可不可以)(?:你|您)?/,
  /^(?:帮我们|帮我|帮忙|帮|给我们|给我|为我|替我|我要|我想要|我想|我需要|我们要|需要|想)/,
  /^(?:备好?|准备|设计|生成)(?=\S)/,
  // These also begin topics (做功, 出师表), so they must be followed by a frame word.
  /^(?:写|做|上|讲|出|来)(?=[一1两]?[节堂份个篇]|课|\s|教案|关于|[“"「《])/,
  /^(?:一|1|这|下|那)?(?:节|堂|份|个|篇)(?!号)/,
  /^课(?=[，,：:\s]|$)/,
  /^(?:关于|有关|讲解|讲(?!义|话|述))/,
  /^(?:的|课(?!本|文))/,
  /^(?:教案|教学设计|备课|课题|主题|内容)(?:是|为|[:：])?/,
  /^[:：、\-–—\s]+/,
  /^(?:please|can you|could you|help me(?: to)?|i(?:'d| would) like(?: to)?|i (?:want|need)(?: to)?|let'?s)\b\s*/i,
  /^(?:prepare|plan|make|create|design|write|generate|give me|draft|teach|build)\b\s*/i,
  /^(?:me|us)\b\s*/i,
  /^(?:an?|the|one|my)\b[\s-]*/i,
  /^(?:lesson|class|course|period)(?: plan)?\b\s*/i,
  /^(?:on|about|for|of|to|covering|teaching|introducing)\b\s*/i,
  /^(?:students?|pupils?|graders?)\b\s*/i,
];

const FILLER_AFTER: readonly RegExp[] = [
  /(?:的)?(?:一)?(?:节|堂)?(?:新授课|复习课|习题课|课程|课时|课|教案|教学设计|教学方案)$/,
  /(?:的)$/,
  /(?:吧|呢|吗|谢谢|好吗)$/,
  /\s+(?:lesson|class)(?: plan)?s?$/i,
  /\s+(?:for|in|with|of|at|to|on|a|an|the|my)$/i,
  /\s*(?:please|thanks?|thank you)$/i,
  /[\s:：、\-–—"“”「」《》'‘’]+$/,
];

/** Reads a sentence such as 帮我备一节七年级一元一次方程的课, 45 分钟. Never fails: what it cannot place becomes the topic or the notes. */
export function parseWish(sentence: string): Wish {
  const wish: Wish = { topic: '' };
  const clauses = sentence
    .split(/[，,。；;！!？?\n]+/)
    .map((clause) => clause.trim())
    .filter((clause) => clause !== '');

  const rest = clauses.map((original) => {
    let clause = original;
    if (wish.language === undefined) {
      clause = cut(clause, LANGUAGE_RULES, (language) => (wish.language = language));
    }
    if (wish.grade === undefined) clause = cutNumber(clause, GRADE_RULES, 1, 12, (grade) => (wish.grade = grade));
    if (wish.minutes === undefined) clause = cutNumber(clause, MINUTE_RULES, 1, 600, (minutes) => (wish.minutes = minutes));
    return clause.replace(/\s{2,}/g, ' ').trim();
  });

  const subject = findSubject(sentence);
  if (subject) wish.subject = subject;

  const notes: string[] = [];
  for (const clause of rest) {
    const bare = stripFiller(stripSubjectName(clause));
    if (bare === '') continue;
    if (wish.topic === '') wish.topic = bare;
    // A later clause is kept in the teacher's own words.
    else notes.push(clause);
  }
  if (notes.length > 0) wish.notes = notes.join(/[\u4e00-\u9fff]/.test(sentence) ? '，' : ', ');
  return wish;
}

function offset(digit: string | undefined, base: number): number | undefined {
  const value = readNumber(digit ?? '');
  return value === undefined ? undefined : base + value;
}

function cut<T>(clause: string, rules: readonly [RegExp, T][], found: (value: T) => void): string {
  for (const [pattern, value] of rules) {
    if (!pattern.test(clause)) continue;
    found(value);
    return clause.replace(pattern, ' ').trim();
  }
  return clause;
}

function cutNumber(
  clause: string,
  rules: readonly [RegExp, (match: RegExpExecArray) => number | undefined][],
  low: number,
  high: number,
  found: (value: number) => void,
): string {
  for (const [pattern, read] of rules) {
    const match = pattern.exec(clause);
    const value = match ? read(match) : undefined;
    if (!match || value === undefined || value < low || value > high) continue;
    found(value);
    return (clause.slice(0, match.index) + ' ' + clause.slice(match.index + match[0].length)).trim();
  }
  return clause;
}

function findSubject(sentence: string): Subject | undefined {
  // "In English" names the language of the plan, not its subject.
  const text = LANGUAGE_RULES.reduce((left, [pattern]) => left.replace(pattern, ' '), sentence);
  return (
    SUBJECT_WORDS.find(({ names }) => names.test(text))?.subject ??
    SUBJECT_WORDS.find(({ topics }) => topics.test(text))?.subject
  );
}

/** 数学 in 七年级数学一元一次方程 names the subject; 化学 in 化学方程式 belongs to the topic. */
function stripSubjectName(clause: string): string {
  return clause
    .replace(/(?:数学|语文|英语|物理|化学|生物学?|人工智能)(?=课|$|\s|[:：])(?:课)?/, ' ')
    .replace(/(^|\s|节|堂|份)(?:数学|语文|英语|物理|化学(?!方程|反应|式|键|变化|性质)|生物学?(?!体|圈|多样))(?=[^\s的])/, '$1 ')
    .replace(/\b(?:math(?:s|ematics)?|physics|chemistry|biology)\b(?=\s+(?:lesson|class)|\s*$|\s*:)/i, ' ')
    .replace(/\s{2,}/g, ' ')
    .trim();
}

/** Removes politeness and frame words from both ends until nothing changes. */
function stripFiller(clause: string): string {
  let text = clause;
  for (;;) {
    const before = text;
    text = text.trim();
    for (const pattern of FILLER_BEFORE) text = text.replace(pattern, '').trimStart();
    for (const pattern of FILLER_AFTER) text = text.replace(pattern, '').trimEnd();
    text = text.replace(/^["“”「」《》'‘’]+/, '');
    // A frame word in the middle: 备 [七年级] 的课 一元一次方程.
    text = text.replace(/\s+(?:的)?(?:课|教案)\s+/g, ' ');
    if (text === before) return text;
  }
}
