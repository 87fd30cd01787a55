//! Changes of a stored plan: a section again, a wish from the chat, a teacher's own edit.

use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::assistants::grounding::{Material, whole_sentences};
use crate::domain::{
    AssessmentCriterion, Difficulty, Homework, KeyPoint, LessonPlan, MisconceptionItem, Objective, Prerequisite,
    SectionName, StandardItem, Step, TextSource,
};
use crate::graph::KnowledgeGraph;

use super::compose::{self, HomeworkSize};
use super::draft::Draft;
use super::facts::{Facts, Source};
use super::intent;
use super::planner::{announce, brief, write_section};
use super::procedure::{self, MaterialKind, StepOrder, share_minutes};
use super::write::{self, ATTEMPTS, Task, Writer, keys, object, text};
use super::{MINUTES, PlanError};

/// A teacher's own edit; only the parts that are given change.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SectionsPatch {
    pub objectives: Option<Vec<Objective>>,
    pub standards: Option<Vec<StandardItem>>,
    pub prerequisites: Option<Vec<Prerequisite>>,
    pub key_points: Option<Vec<KeyPoint>>,
    pub difficulties: Option<Vec<Difficulty>>,
    pub misconceptions: Option<Vec<MisconceptionItem>>,
    pub procedure: Option<Vec<Step>>,
    pub board: Option<String>,
    pub homework: Option<Homework>,
    pub assessment: Option<Vec<AssessmentCriterion>>,
}

impl SectionsPatch {
    pub(super) fn apply(mut self, plan: &mut LessonPlan, graph: &KnowledgeGraph) -> Result<(), PlanError> {
        let sections = &mut plan.sections;
        if let Some(mut procedure) = self.procedure {
            plan.minutes = total_minutes(&procedure)?;
            mark_sources(&mut procedure, &sections.procedure);
            sections.procedure = procedure;
        }
        if let Some(mut homework) = self.homework {
            for item in homework.basic.iter_mut().chain(&mut homework.standard).chain(&mut homework.challenge) {
                // The mark of a recomputed answer is ours to give: it stays on exercises that are the bank's, word for word.
                let own = item.citations.iter().filter_map(|key| plan.citations.get(key)).any(|citation| {
                    graph.exercise(&citation.reference).is_some_and(|exercise| {
                        exercise.prompt == item.prompt
                            && item.answer.starts_with(&exercise.answer)
                            && compose::verified(&exercise.checks)
                    })
                });
                item.verified = own;
            }
            sections.homework = homework;
        }
        mark_sources(self.objectives.as_deref_mut().unwrap_or_default(), &sections.objectives);
        mark_sources(self.assessment.as_deref_mut().unwrap_or_default(), &sections.assessment);
        replace(&mut sections.objectives, self.objectives);
        replace(&mut sections.standards, self.standards);
        replace(&mut sections.prerequisites, self.prerequisites);
        replace(&mut sections.key_points, self.key_points);
        replace(&mut sections.difficulties, self.difficulties);
        replace(&mut sections.misconceptions, self.misconceptions);
        replace(&mut sections.board, self.board);
        replace(&mut sections.assessment, self.assessment);
        Ok(())
    }
}

fn replace<T>(current: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *current = given;
    }
}

/// An item that says who worded it.
trait Worded {
    fn words(&self) -> Vec<&str>;
    fn source(&mut self) -> &mut Option<TextSource>;
}

impl Worded for Objective {
    fn words(&self) -> Vec<&str> {
        vec![&self.text]
    }

    fn source(&mut self) -> &mut Option<TextSource> {
        &mut self.source
    }
}

impl Worded for Step {
    fn words(&self) -> Vec<&str> {
        vec![&self.teacher, &self.students, &self.purpose]
    }

    fn source(&mut self) -> &mut Option<TextSource> {
        &mut self.source
    }
}

impl Worded for AssessmentCriterion {
    fn words(&self) -> Vec<&str> {
        self.levels.iter().map(String::as_str).collect()
    }

    fn source(&mut self) -> &mut Option<TextSource> {
        &mut self.source
    }
}

/// Who worded an item is ours to say: the mark stays where the words stayed, and goes where a person put others.
fn mark_sources<T: Worded + Clone>(given: &mut [T], current: &[T]) {
    for item in given {
        let known = current.iter().find(|known| known.words() == item.words()).cloned();
        *item.source() = known.and_then(|mut known| *known.source());
    }
}

/// An edited procedure sets the lesson's length.
fn total_minutes(steps: &[Step]) -> Result<u16, PlanError> {
    let total: u32 = steps.iter().map(|step| u32::from(step.minutes)).sum();
    u16::try_from(total).ok().filter(|total| MINUTES.contains(total)).ok_or_else(|| PlanError::InvalidField {
        field: "sections.procedure",
        reason: format!("各环节共 {total} 分钟，课时应在 {} 到 {} 分钟之间", MINUTES.start(), MINUTES.end()),
    })
}

/// Writes a section again from the facts. Homework comes back with other exercises as far as the bank has them.
pub(super) async fn write_again(
    writer: &Writer<'_>,
    facts: &Facts,
    plan: &mut LessonPlan,
    section: SectionName,
    draft: &mut Draft,
) -> Result<(), PlanError> {
    if section == SectionName::Homework {
        draft.started(section, 1).await;
        let size = size_of(&plan.sections.homework);
        other_homework(facts, plan, size, draft);
        return announce(plan, section, draft).await;
    }
    write_section(writer, facts, plan, section, draft).await
}

fn size_of(homework: &Homework) -> HomeworkSize {
    HomeworkSize {
        basic: homework.basic.len(),
        standard: homework.standard.len(),
        challenge: homework.challenge.len(),
        turn: 0,
    }
}

/// Another set of the same size; `false` when the bank has no other.
fn other_homework(facts: &Facts, plan: &mut LessonPlan, size: HomeworkSize, draft: &mut Draft) -> bool {
    for turn in 1..=4 {
        let choice = compose::choose_exercises(facts, HomeworkSize { turn, ..size });
        let homework = compose::homework(&choice, draft);
        if homework != plan.sections.homework {
            plan.sections.homework = homework;
            return true;
        }
    }
    false
}

/// What a wish came to.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The section that changed; `None` when nothing did.
    pub section: Option<SectionName>,
    /// What the teacher is told, in Chinese.
    pub reply: String,
}

impl Change {
    fn of(section: SectionName, reply: impl Into<String>) -> Self {
        Self { section: Some(section), reply: reply.into() }
    }

    fn none(reply: impl Into<String>) -> Self {
        Self { section: None, reply: reply.into() }
    }
}

/// A new length of the whole lesson.
pub(super) fn set_length(plan: &mut LessonPlan, minutes: u16) -> Change {
    if !MINUTES.contains(&minutes) {
        return Change::none(format!("课时应在 {} 到 {} 分钟之间，没有改动。", MINUTES.start(), MINUTES.end()));
    }
    let weights: Vec<u16> = plan.sections.procedure.iter().map(|step| step.minutes).collect();
    for (step, share) in plan.sections.procedure.iter_mut().zip(share_minutes(minutes, &weights)) {
        step.minutes = share;
    }
    plan.minutes = minutes;
    Change::of(SectionName::Procedure, format!("课时已改为 {minutes} 分钟，各环节的时间按比例重新分配。"))
}

/// Changes the section that a wish means, and no other.
pub(super) async fn fulfil(
    writer: &Writer<'_>,
    facts: &Facts,
    plan: &mut LessonPlan,
    (section, phase): (SectionName, Option<&str>),
    wish: &str,
    draft: &mut Draft,
) -> Result<Change, PlanError> {
    let label = section.label_zh();
    let changed = match section {
        SectionName::Standards | SectionName::Prerequisites => {
            return Ok(Change::none(format!(
                "“{label}”直接取自知识图谱，不改写原文，所以没有改动。需要删减条目时可以在教案里直接编辑。"
            )));
        }
        SectionName::Homework => return homework_wish(facts, plan, wish, draft).await,
        SectionName::Procedure => return procedure_wish(writer, facts, plan, phase, wish, draft).await,
        SectionName::Objectives => {
            plan.sections.objectives = write::objectives(writer, &brief(plan, Some(wish)), facts, draft).await?;
            true
        }
        SectionName::Assessment => {
            let brief = brief(plan, Some(wish));
            plan.sections.assessment = write::assessment(writer, &brief, &plan.sections.objectives, draft).await?;
            true
        }
        SectionName::KeyPoints | SectionName::Difficulties | SectionName::Misconceptions | SectionName::Board => {
            rewrite(writer, facts, plan, section, wish, draft).await?
        }
    };
    announce(plan, section, draft).await?;
    Ok(if changed {
        Change::of(section, format!("已按您的要求修改“{label}”，其他部分没有改动。"))
    } else {
        Change::none(format!("按这个要求没能写出有依据的“{label}”，所以保持原样。可以换一种说法再试。"))
    })
}

async fn homework_wish(
    facts: &Facts,
    plan: &mut LessonPlan,
    wish: &str,
    draft: &mut Draft,
) -> Result<Change, PlanError> {
    let has = |words: &[&str]| words.iter().any(|word| wish.contains(word));
    let before = plan.sections.homework.clone();
    let mut size = size_of(&before);
    let amount = if has(&["两", "2"]) { 2 } else { 1 };
    let levels: [(&[&str], &mut usize); 3] = [
        (&["基础", "简单", "容易"], &mut size.basic),
        (&["提高", "中等", "标准"], &mut size.standard),
        (&["挑战", "拓展", "拔高", "难题"], &mut size.challenge),
    ];
    let named = levels.iter().any(|(words, _)| has(words));
    let fewer = has(&["减少", "删", "去掉", "少一", "少布置", "太多"]);
    let more = !fewer && has(&["加", "补充", "多"]);
    for (words, count) in levels {
        if has(words) || !named {
            match (fewer, more) {
                (true, _) => *count = count.saturating_sub(amount),
                (_, true) => *count += amount,
                _ => {}
            }
        }
    }
    draft.started(SectionName::Homework, 1).await;
    if fewer || more {
        let choice = compose::choose_exercises(facts, size);
        plan.sections.homework = compose::homework(&choice, draft);
    } else {
        other_homework(facts, plan, size, draft);
    }
    announce(plan, SectionName::Homework, draft).await?;
    let after = &plan.sections.homework;
    let count = |homework: &Homework| homework.basic.len() + homework.standard.len() + homework.challenge.len();
    Ok(if *after == before {
        Change::none("题库里与本课有关的题目已经用完，作业没有改动。")
    } else {
        Change::of(
            SectionName::Homework,
            format!(
                "已调整作业：原来 {} 题，现在 {} 题。题目都来自题库，不含自动编造的题。",
                count(&before),
                count(after)
            ),
        )
    })
}

async fn procedure_wish(
    writer: &Writer<'_>,
    facts: &Facts,
    plan: &mut LessonPlan,
    phase: Option<&str>,
    wish: &str,
    draft: &mut Draft,
) -> Result<Change, PlanError> {
    let section = SectionName::Procedure;
    let phases = procedure::phases()?;
    let indices: Vec<usize> = match phase {
        None => (0..plan.sections.procedure.len()).collect(),
        Some(id) => {
            let found = plan.sections.procedure.iter().position(|step| phase_of(step, &phases) == Some(id));
            let Some(index) = found else {
                return Ok(Change::none("这份教案里没有这个环节，所以没有改动。"));
            };
            if let Some(minutes) = intent::minutes(wish) {
                let change = set_step_minutes(plan, index, minutes);
                draft.started(section, 1).await;
                announce(plan, section, draft).await?;
                return Ok(change);
            }
            vec![index]
        }
    };
    draft.started(section, 1).await;
    let brief = brief(plan, Some(wish));
    let choice = compose::choose_exercises(facts, HomeworkSize::default());
    let mut titles = Vec::new();
    for index in indices {
        let step = &plan.sections.procedure[index];
        let Some(mut phase) = phases.iter().find(|phase| Some(phase.id.as_str()) == phase_of(step, &phases)).cloned()
        else {
            continue;
        };
        let lifelike = ["情境", "生活", "实际", "故事"].iter().any(|word| wish.contains(word));
        if phase.material == MaterialKind::Prerequisites && lifelike {
            phase.material = MaterialKind::Contexts;
            phase.title = "情境导入".to_owned();
            phase.task = "从生活情境出发提出问题，引起学习的愿望，自然引出本课课题。".to_owned();
        }
        let Some(material) = procedure::gather(phase.material, facts, &choice, draft) else { continue };
        let minutes = step.minutes;
        let others = plan.sections.procedure.iter().enumerate().filter(|(other, _)| *other != index);
        let before = others.map(|(_, step)| step.teacher.as_str()).collect();
        let order = StepOrder { phase: &phase, material: &material, minutes, before };
        let written = procedure::write_step(writer, &brief, order, draft).await?;
        titles.push(written.title.clone());
        plan.sections.procedure[index] = written;
    }
    announce(plan, section, draft).await?;
    Ok(Change::of(
        section,
        format!("已按您的要求修改教学过程的“{}”环节，其他部分没有改动。题目和情境来自知识图谱。", titles.join("”“")),
    ))
}

/// The phase that a step came from, by its title.
fn phase_of<'a>(step: &Step, phases: &'a [procedure::Phase]) -> Option<&'a str> {
    let by_title = phases.iter().find(|phase| phase.title == step.title);
    let introduction = || phases.iter().find(|phase| phase.id == "review" && step.title.contains("导入"));
    by_title.or_else(introduction).map(|phase| phase.id.as_str())
}

/// Gives one step new minutes; the others share the rest in their proportions, so that the lesson's length stays.
fn set_step_minutes(plan: &mut LessonPlan, index: usize, minutes: u16) -> Change {
    let steps = &mut plan.sections.procedure;
    let others = u16::try_from(steps.len() - 1).unwrap_or(u16::MAX);
    if minutes == 0 || plan.minutes.saturating_sub(minutes) < others {
        return Change::none(format!("{minutes} 分钟会让其他环节没有时间，所以没有改动。"));
    }
    let weights: Vec<u16> =
        steps.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, step)| step.minutes).collect();
    let mut shares = share_minutes(plan.minutes - minutes, &weights).into_iter();
    for (other, step) in steps.iter_mut().enumerate() {
        step.minutes = if other == index { minutes } else { shares.next().unwrap_or(1) };
    }
    let title = steps[index].title.clone();
    Change::of(SectionName::Procedure, format!("“{title}”已改为 {minutes} 分钟，其余时间按比例分给其他环节。"))
}

#[derive(Deserialize)]
struct Rewritten {
    items: Vec<RewrittenItem>,
}

#[derive(Deserialize)]
struct RewrittenItem {
    text: String,
    /// The remedy or response, in sections that have one.
    #[serde(default)]
    answer: String,
    source: String,
}

/// Rewrites the items of a section that is normally composed; `false` when nothing grounded came of it.
async fn rewrite(
    writer: &Writer<'_>,
    facts: &Facts,
    plan: &mut LessonPlan,
    section: SectionName,
    wish: &str,
    draft: &mut Draft,
) -> Result<bool, PlanError> {
    let sources = write::sources(facts, draft);
    let current = current_items(plan, section);
    let answered = matches!(section, SectionName::Difficulties | SectionName::Misconceptions);
    let mut properties = json!({"text": text(100), "source": {"enum": keys(&sources)}});
    if answered {
        properties["answer"] = text(120);
    }
    let schema = object(json!({
        "items": {"type": "array", "minItems": 1, "maxItems": current.len().clamp(1, 8), "items": object(properties)},
    }));
    let material = Material::new(
        sources.iter().map(|source| source.text.as_str()).chain(current.iter().map(String::as_str)).chain([wish]),
    );
    for attempt in 1..=ATTEMPTS {
        draft.started(section, attempt).await;
        let values = brief(plan, Some(wish)).values(json!({
            "section": section.label_zh(), "current": current, "material": sources,
        }));
        let task = Task {
            section: Some(section),
            template: "lesson/rewrite.j2",
            values,
            schema: schema.clone(),
            max_tokens: 600,
            attempt,
        };
        let Some(written) = writer.json::<Rewritten>(draft, task).await? else { continue };
        let items: Vec<RewrittenItem> = written
            .items
            .into_iter()
            .filter_map(|item| {
                let text = whole_sentences(&item.text)?;
                let answer = if answered { whole_sentences(&item.answer)? } else { String::new() };
                let good = material.check(&text).is_ok() && (!answered || material.check(&answer).is_ok());
                good.then_some(RewrittenItem { text, answer, source: item.source })
            })
            .collect();
        if !items.is_empty() {
            put_items(plan, section, items, &sources);
            return Ok(true);
        }
    }
    Ok(false)
}

fn current_items(plan: &LessonPlan, section: SectionName) -> Vec<String> {
    let sections = &plan.sections;
    match section {
        SectionName::KeyPoints => sections.key_points.iter().map(|item| item.text.clone()).collect(),
        SectionName::Difficulties => {
            sections.difficulties.iter().map(|item| format!("{} 突破：{}", item.text, item.remedy)).collect()
        }
        SectionName::Misconceptions => {
            sections.misconceptions.iter().map(|item| format!("{} 应对：{}", item.text, item.response)).collect()
        }
        _ => sections.board.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
    }
}

fn put_items(plan: &mut LessonPlan, section: SectionName, items: Vec<RewrittenItem>, sources: &[Source]) {
    let known = |key: &String| sources.iter().any(|source| source.key == *key);
    let items = items.into_iter().filter(|item| known(&item.source));
    let sections = &mut plan.sections;
    match section {
        SectionName::KeyPoints => {
            sections.key_points =
                items.map(|item| KeyPoint { text: item.text, citations: vec![item.source] }).collect();
        }
        SectionName::Difficulties => {
            sections.difficulties = items
                .map(|item| Difficulty { text: item.text, remedy: item.answer, citations: vec![item.source] })
                .collect();
        }
        SectionName::Misconceptions => {
            sections.misconceptions = items
                .map(|item| MisconceptionItem { text: item.text, response: item.answer, citations: vec![item.source] })
                .collect();
        }
        _ => {
            let lines: String = items.map(|item| format!("- {}\n", item.text)).collect();
            sections.board = format!("# {}\n\n{lines}", plan.topic);
        }
    }
}
