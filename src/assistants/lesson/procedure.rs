//! The procedure (教学过程): phases from `prompts/lesson/phases.toml`, minutes shared out by arithmetic, material from the
//! graph printed as it stands, and between them the model's account of what teacher and pupils do.

use serde::Deserialize;
use serde_json::json;

use crate::assistants::grounding::{Material, similarity, whole_sentences};
use crate::assistants::prompts::Prompts;
use crate::domain::{SectionName, Step, TextSource};

use super::PlanError;
use super::compose::ExerciseChoice;
use super::draft::Draft;
use super::facts::{self, Facts};
use super::write::{ATTEMPTS, Brief, Task, Writer, object, text};

/// Under this length a lesson has no phase of its own for misconceptions.
const SHORT_LESSON: u16 = 25;
/// No phase is shorter than this, in minutes.
const SHORTEST_PHASE: u16 = 1;
/// Characters of a passage that a phase is given.
const PASSAGE_EXCERPT: usize = 160;

/// One phase as configured.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Phase {
    pub id: String,
    pub title: String,
    pub weight: u16,
    pub material: MaterialKind,
    /// What the model is asked to describe.
    pub task: String,
    /// Vetted wording for when the model's fails its checks.
    pub teacher: String,
    pub students: String,
    pub purpose: String,
}

/// Which facts a phase is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MaterialKind {
    Prerequisites,
    Contexts,
    Examples,
    Misconceptions,
    Practice,
    Summary,
}

/// The phases in teaching order.
pub(super) fn phases() -> Result<Vec<Phase>, PlanError> {
    #[derive(Deserialize)]
    struct Phases {
        phase: Vec<Phase>,
    }
    let text = Prompts::file("lesson/phases.toml")?;
    let phases: Phases =
        toml::from_str(&text).map_err(|error| PlanError::Internal(format!("lesson/phases.toml: {error}")))?;
    Ok(phases.phase)
}

/// The facts of one phase: what the model reads, what is printed in the plan, and the citations.
#[derive(Clone, Debug, Default)]
pub(super) struct PhaseMaterial {
    /// Lines for the prompt, each beginning with its name (`例1：…`).
    pub lines: Vec<String>,
    /// Printed under the teacher's part, as it stands in the graph.
    pub printed: String,
    pub citations: Vec<String>,
}

/// Gathers the facts of a phase; `None` when the graph has none for it.
pub(super) fn gather(
    kind: MaterialKind,
    facts: &Facts,
    choice: &ExerciseChoice,
    draft: &mut Draft,
) -> Option<PhaseMaterial> {
    let mut material = PhaseMaterial::default();
    match kind {
        MaterialKind::Prerequisites => {
            for (number, (concept, note)) in (1..).zip(facts.in_turn(3, |concept| concept.prerequisites.clone())) {
                let line = format!("检查问题{number}：{}（{}）", note.check_question, note.label);
                material.printed.push_str(&format!("\n- {line}　参考：{}", note.check_answer));
                material.add(line, draft.cite(facts::of_prerequisite(concept, &note)));
            }
        }
        MaterialKind::Contexts => {
            let contexts = facts.in_turn(2, |concept| concept.contexts.clone());
            for (number, (concept, context)) in (1..).zip(contexts) {
                let line = format!("情境{number}：{context}");
                material.printed.push_str(&format!("\n- {line}"));
                material.add(line, draft.cite(facts::of_concept(concept, &context)));
            }
            let main = facts.main();
            material.printed.push_str(&format!("\n- 概括：{}", main.definition));
            material.add(
                format!("要概括出的概念：{}", main.definition),
                draft.cite(facts::of_concept(main, &main.definition)),
            );
            if let Some(hit) = facts.passages.first() {
                let excerpt: String = hit.text.chars().take(PASSAGE_EXCERPT).collect();
                material.add(format!("教学建议：{excerpt}"), draft.cite(facts::of_passage(hit)));
            }
        }
        MaterialKind::Examples => {
            for (number, (concept, example)) in (1..).zip(facts.in_turn(2, |concept| concept.examples.clone())) {
                let line = format!("例{number}：{}", example.prompt);
                material.printed.push_str(&format!(
                    "\n- {line}\n  解：{}\n  答案：{}",
                    example.solution.join(" "),
                    example.answer
                ));
                material.add(
                    format!("{line} 解法：{}", example.solution.join(" ")),
                    draft.cite(facts::of_concept(concept, &example.prompt)),
                );
            }
        }
        MaterialKind::Misconceptions => {
            for (number, (concept, item)) in (1..).zip(facts.in_turn(2, |concept| concept.misconceptions.clone())) {
                let line = format!("错例{number}：{}{}", item.text, item.sample);
                material.printed.push_str(&format!("\n- {line}\n  应对：{}", item.response));
                material.add(
                    format!("{line} 应对：{}", item.response),
                    draft.cite(facts::of_misconception(concept, &item)),
                );
            }
        }
        MaterialKind::Practice => {
            for (number, exercise) in (1..).zip(&choice.practice) {
                let line = format!("练习{number}：{}", exercise.prompt);
                material.printed.push_str(&format!("\n- {line}\n  答案：{}", exercise.answer));
                material.add(line, draft.cite(facts::of_exercise(exercise)));
            }
        }
        MaterialKind::Summary => {
            for (concept, point) in facts.in_turn(3, |concept| concept.key_points.clone()) {
                material.add(format!("要点：{point}"), draft.cite(facts::of_concept(concept, &point)));
            }
        }
    }
    (!material.lines.is_empty()).then_some(material)
}

impl PhaseMaterial {
    fn add(&mut self, line: String, key: String) {
        self.lines.push(line);
        if !self.citations.contains(&key) {
            self.citations.push(key);
        }
    }
}

/// Shares `minutes` out by weight, largest remainders first, so that the parts add up exactly and none is empty.
pub(super) fn share_minutes(minutes: u16, weights: &[u16]) -> Vec<u16> {
    let count = weights.len() as u32;
    let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum::<u32>().max(1);
    let spare = u32::from(minutes).saturating_sub(count * u32::from(SHORTEST_PHASE));
    let exact: Vec<(u32, u32)> =
        weights.iter().map(|weight| (spare * u32::from(*weight) / total, spare * u32::from(*weight) % total)).collect();
    let mut shares: Vec<u32> = exact.iter().map(|(whole, _)| whole + u32::from(SHORTEST_PHASE)).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(exact[*index].1));
    let missing = u32::from(minutes).saturating_sub(shares.iter().sum());
    for index in order.into_iter().cycle().take(missing as usize) {
        shares[index] += 1;
    }
    shares.into_iter().map(|share| u16::try_from(share).unwrap_or(u16::MAX)).collect()
}

#[derive(Deserialize)]
struct WrittenStep {
    teacher: String,
    students: String,
    purpose: String,
}

/// Writes all steps.
pub(super) async fn procedure(
    writer: &Writer<'_>,
    brief: &Brief,
    facts: &Facts,
    choice: &ExerciseChoice,
    draft: &mut Draft,
) -> Result<Vec<Step>, PlanError> {
    draft.started(SectionName::Procedure, 1).await;
    let mut parts: Vec<(Phase, PhaseMaterial)> = Vec::new();
    for phase in phases()? {
        let skipped = brief.minutes < SHORT_LESSON && phase.material == MaterialKind::Misconceptions;
        if let (false, Some(material)) = (skipped, gather(phase.material, facts, choice, draft)) {
            parts.push((phase, material));
        }
    }
    let weights: Vec<u16> = parts.iter().map(|(phase, _)| phase.weight).collect();
    let shares = share_minutes(brief.minutes, &weights);
    let mut steps: Vec<Step> = Vec::new();
    for ((phase, material), minutes) in parts.into_iter().zip(shares) {
        let heading = format!("{}{}（{minutes} 分钟）\n", if steps.is_empty() { "" } else { "\n" }, phase.title);
        draft.delta(Some(SectionName::Procedure), heading).await;
        let before: Vec<&str> = steps.iter().map(|step| step.teacher.as_str()).collect();
        let step =
            write_step(writer, brief, StepOrder { phase: &phase, material: &material, minutes, before }, draft).await?;
        steps.push(step);
    }
    Ok(steps)
}

/// One step to be written.
pub(super) struct StepOrder<'a> {
    pub phase: &'a Phase,
    pub material: &'a PhaseMaterial,
    pub minutes: u16,
    /// What the teacher does in the other steps; the new one must not repeat it.
    pub before: Vec<&'a str>,
}

/// Writes one step; with the vetted wording of its phase when the model's fails twice.
pub(super) async fn write_step(
    writer: &Writer<'_>,
    brief: &Brief,
    order: StepOrder<'_>,
    draft: &mut Draft,
) -> Result<Step, PlanError> {
    let StepOrder { phase, material, minutes, before } = &order;
    let known = [phase.title.as_str(), phase.task.as_str()];
    let minutes_text = format!("{minutes} {}", brief.minutes);
    let allowed = Material::new(
        material
            .lines
            .iter()
            .map(String::as_str)
            .chain([material.printed.as_str(), minutes_text.as_str()])
            .chain(known)
            .chain(brief.own_words()),
    );
    let schema = object(json!({"teacher": text(150), "students": text(80), "purpose": text(50)}));
    for attempt in 1..=ATTEMPTS {
        let values = brief.values(json!({
            "title": phase.title, "task": phase.task, "minutes": minutes, "material": material.lines,
        }));
        let task = Task {
            section: Some(SectionName::Procedure),
            template: "lesson/step.j2",
            values,
            schema: schema.clone(),
            max_tokens: 320,
            attempt,
        };
        let Some(written) = writer.json::<WrittenStep>(draft, task).await? else { continue };
        let texts = [&written.teacher, &written.students, &written.purpose].map(|text| whole_sentences(text));
        let [Some(teacher), Some(students), Some(purpose)] = texts else { continue };
        if let Some(reason) = [&teacher, &students, &purpose].into_iter().find_map(|text| allowed.check(text).err()) {
            tracing::info!(phase = phase.id, ?reason, "step refused");
            continue;
        }
        if let Some(name) = [&teacher, &students, &purpose].into_iter().find_map(|text| unknown_name(text, material)) {
            tracing::info!(phase = phase.id, name, "step names what the material does not have");
            continue;
        }
        if [&teacher, &students].into_iter().any(|text| ASIDES.iter().any(|aside| text.contains(aside))) {
            tracing::info!(phase = phase.id, "step speaks of the task instead of the lesson");
            continue;
        }
        let purpose = purpose.trim_start_matches("设计意图").trim_start_matches(['是', '：', '，']).to_owned();
        if before.iter().any(|other| similarity(other.lines().next().unwrap_or_default(), &teacher) > 0.7) {
            tracing::info!(phase = phase.id, "step repeats another one");
            continue;
        }
        return Ok(step(&order, [teacher, students, purpose], TextSource::Model));
    }
    let vetted = [phase.teacher.clone(), phase.students.clone(), phase.purpose.clone()];
    Ok(step(&order, vetted, TextSource::Vetted))
}

/// Words of the task that have no place in a plan.
const ASIDES: [&str; 6] = ["设计意图", "教师的目的", "学生需要", "材料", "本环节", "JSON"];

/// The first name of the form 例3, 练习2 in a text that the material does not bear.
fn unknown_name(text: &str, material: &PhaseMaterial) -> Option<String> {
    ["错例", "例", "练习", "情境", "检查问题"].into_iter().find_map(|kind| {
        let parts = text.split(kind).skip(1);
        let numbers = parts.map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>());
        let mut names = numbers.filter(|number| !number.is_empty()).map(|number| format!("{kind}{number}"));
        names.find(|name| !material.lines.iter().any(|line| line.contains(name.as_str())))
    })
}

fn step(order: &StepOrder<'_>, [teacher, students, purpose]: [String; 3], source: TextSource) -> Step {
    let StepOrder { phase, material, minutes, .. } = order;
    Step {
        title: phase.title.clone(),
        minutes: *minutes,
        teacher: format!(
            "{teacher}{}",
            if material.printed.is_empty() { String::new() } else { format!("\n{}", material.printed) }
        ),
        students,
        purpose,
        citations: material.citations.clone(),
        source: Some(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_add_up_exactly_whatever_the_weights() {
        for minutes in 10..=180 {
            for weights in [&[12, 26, 24, 12, 16, 10][..], &[1, 1, 1], &[30, 1, 1, 1, 1, 1]] {
                let shares = share_minutes(minutes, weights);
                assert_eq!(shares.iter().sum::<u16>(), minutes, "{minutes} {weights:?}");
                assert!(shares.iter().all(|share| *share >= SHORTEST_PHASE));
            }
        }
        assert_eq!(share_minutes(45, &[12, 26, 24, 12, 16, 10]), [6, 11, 10, 6, 7, 5]);
    }

    #[test]
    fn names_that_the_material_lacks_are_found() {
        let material = PhaseMaterial { lines: vec!["例1：解方程。".to_owned()], ..PhaseMaterial::default() };
        assert_eq!(unknown_name("先看例1，再看例3。", &material).as_deref(), Some("例3"));
        assert_eq!(unknown_name("先看例1。举例说明。", &material), None);
        assert_eq!(unknown_name("完成练习2。", &material).as_deref(), Some("练习2"));
    }

    #[test]
    fn the_shipped_phases_are_complete() {
        let phases = phases().expect("phases");
        assert_eq!(phases.iter().map(|phase| phase.weight).sum::<u16>(), 100);
        let allowed = Material::default();
        for phase in phases {
            for text in [&phase.teacher, &phase.students, &phase.purpose] {
                assert_eq!(allowed.check(text), Ok(()), "{}", phase.id);
            }
        }
    }
}
