//! The sections that are facts: taken from the graph as they stand, each item with its citation.

use crate::algebra;
use crate::domain::{
    Difficulty, ExerciseItem, Homework, KeyPoint, MisconceptionItem, Prerequisite, SectionName, StandardItem,
};
use crate::graph::{Exercise, ExerciseLevel};

use super::draft::Draft;
use super::facts::{self, Facts};

/// Items per section; a lesson has room for no more.
const KEY_POINTS: usize = 5;
const DIFFICULTIES: usize = 3;
const MISCONCEPTIONS: usize = 4;
const PREREQUISITES: usize = 4;
/// Homework items per level.
const BASIC: usize = 3;
const STANDARD: usize = 2;
const CHALLENGE: usize = 1;

pub(super) fn standards(facts: &Facts, draft: &mut Draft) -> Vec<StandardItem> {
    let mut items: Vec<StandardItem> = Vec::new();
    for standard in facts.concepts.iter().flat_map(|concept| &concept.standards) {
        if items.iter().all(|item| item.text != standard.text) {
            let key = draft.cite(facts::of_standard(standard));
            items.push(StandardItem { code: standard.code.clone(), text: standard.text.clone(), citations: vec![key] });
        }
    }
    items
}

pub(super) fn prerequisites(facts: &Facts, draft: &mut Draft) -> Vec<Prerequisite> {
    let taught: Vec<&str> = facts.concepts.iter().map(|concept| concept.id.as_str()).collect();
    let mut items: Vec<Prerequisite> = Vec::new();
    for (concept, note) in facts.in_turn(usize::MAX, |concept| concept.prerequisites.clone()) {
        // A concept of this very lesson is no prerequisite of it.
        if items.len() < PREREQUISITES
            && !taught.contains(&note.id.as_str())
            && items.iter().all(|item| item.concept != note.id)
        {
            let key = draft.cite(facts::of_prerequisite(concept, &note));
            items.push(Prerequisite {
                concept: note.id,
                label: note.label,
                check_question: note.check_question,
                citations: vec![key],
            });
        }
    }
    items
}

pub(super) fn key_points(facts: &Facts, draft: &mut Draft) -> Vec<KeyPoint> {
    facts
        .in_turn(KEY_POINTS, |concept| concept.key_points.clone())
        .into_iter()
        .map(|(concept, text)| KeyPoint { citations: vec![draft.cite(facts::of_concept(concept, &text))], text })
        .collect()
}

pub(super) fn difficulties(facts: &Facts, draft: &mut Draft) -> Vec<Difficulty> {
    facts
        .in_turn(DIFFICULTIES, |concept| concept.difficulties.clone())
        .into_iter()
        .map(|(concept, difficulty)| Difficulty {
            citations: vec![draft.cite(facts::of_concept(concept, &difficulty.text))],
            text: difficulty.text,
            remedy: difficulty.remedy,
        })
        .collect()
}

pub(super) fn misconceptions(facts: &Facts, draft: &mut Draft) -> Vec<MisconceptionItem> {
    facts
        .in_turn(MISCONCEPTIONS, |concept| concept.misconceptions.clone())
        .into_iter()
        .map(|(concept, misconception)| MisconceptionItem {
            citations: vec![draft.cite(facts::of_misconception(concept, &misconception))],
            text: format!("{}例如：{}", misconception.text, misconception.sample),
            response: misconception.response,
        })
        .collect()
}

/// Which exercises are for the lesson itself and which for home; no exercise is in both.
#[derive(Clone, Debug, Default)]
pub(super) struct ExerciseChoice {
    pub practice: Vec<std::sync::Arc<Exercise>>,
    pub basic: Vec<std::sync::Arc<Exercise>>,
    pub standard: Vec<std::sync::Arc<Exercise>>,
    pub challenge: Vec<std::sync::Arc<Exercise>>,
}

/// How many homework items of each level are wanted, and how far the choice is turned for another set.
#[derive(Clone, Copy, Debug)]
pub(super) struct HomeworkSize {
    pub basic: usize,
    pub standard: usize,
    pub challenge: usize,
    pub turn: usize,
}

impl Default for HomeworkSize {
    fn default() -> Self {
        Self { basic: BASIC, standard: STANDARD, challenge: CHALLENGE, turn: 0 }
    }
}

/// Shares the bank out: one basic exercise (two, when there are plenty) for practice in class, the rest for home; missing
/// basic and standard items come from the prerequisites as revision.
pub(super) fn choose_exercises(facts: &Facts, size: HomeworkSize) -> ExerciseChoice {
    let of_level = |exercises: &[std::sync::Arc<Exercise>], level| -> Vec<_> {
        exercises.iter().filter(|exercise| exercise.level == level).cloned().collect()
    };
    let mut basic = of_level(&facts.exercises, ExerciseLevel::Basic);
    // Practice in class does not turn, so that another set of homework never takes its exercise.
    let in_class = if basic.len() >= 4 { 2 } else { 1.min(basic.len()) };
    let practice: Vec<_> = basic.drain(..in_class).collect();
    let take = |mut own: Vec<std::sync::Arc<Exercise>>, level, wanted: usize| {
        own.extend(of_level(&facts.revision_exercises, level));
        let length = own.len().max(1);
        own.rotate_left(size.turn * wanted % length);
        own.truncate(wanted);
        own
    };
    ExerciseChoice {
        practice,
        basic: take(basic, ExerciseLevel::Basic, size.basic),
        standard: take(of_level(&facts.exercises, ExerciseLevel::Standard), ExerciseLevel::Standard, size.standard),
        challenge: take(of_level(&facts.exercises, ExerciseLevel::Challenge), ExerciseLevel::Challenge, size.challenge),
    }
}

pub(super) fn homework(choice: &ExerciseChoice, draft: &mut Draft) -> Homework {
    let mut items = |exercises: &[std::sync::Arc<Exercise>]| {
        exercises
            .iter()
            .map(|exercise| ExerciseItem {
                prompt: exercise.prompt.clone(),
                answer: answer_text(exercise),
                verified: verified(&exercise.checks),
                concept: exercise.concept.clone(),
                citations: vec![draft.cite(facts::of_exercise(exercise))],
            })
            .collect::<Vec<_>>()
    };
    Homework { basic: items(&choice.basic), standard: items(&choice.standard), challenge: items(&choice.challenge) }
}

/// The answer with its steps, as a teacher marks by it.
fn answer_text(exercise: &Exercise) -> String {
    if exercise.solution.is_empty() {
        return exercise.answer.clone();
    }
    format!("{}\n解析：{}", exercise.answer, exercise.solution.join("\n"))
}

/// Whether every formal statement of the exercise was recomputed and holds.
pub(super) fn verified(checks: &[String]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| matches!(algebra::check(check), Ok(algebra::Verdict::Holds)))
}

/// The plan of the blackboard: concept, points, one example in full, the warning.
pub(super) fn board(facts: &Facts, topic: &str) -> String {
    let main = facts.main();
    let mut board = format!("# {topic}\n\n## 一、概念\n\n{}\n\n## 二、要点\n\n", main.definition);
    for (index, (_, point)) in facts.in_turn(KEY_POINTS, |concept| concept.key_points.clone()).iter().enumerate() {
        board.push_str(&format!("{}. {point}\n", index + 1));
    }
    if let Some(example) = main.examples.first() {
        board.push_str(&format!("\n## 三、例题\n\n例1　{}\n\n", example.prompt));
        for step in &example.solution {
            board.push_str(&format!("- {step}\n"));
        }
        board.push_str(&format!("\n答案：{}\n", example.answer));
    }
    if let Some(misconception) = main.misconceptions.first() {
        board.push_str(&format!("\n## 四、注意\n\n易错：{}\n", misconception.text));
    }
    board
}

/// Sections that [`compose`](self) alone makes; the others need the language model.
pub(super) fn is_composed(section: SectionName) -> bool {
    !matches!(section, SectionName::Objectives | SectionName::Procedure | SectionName::Assessment)
}
