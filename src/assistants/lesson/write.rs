//! What the language model writes outside the procedure: objectives, assessment, and rewrites of a section on request.
//!
//! Each text is made under a JSON schema, checked against its material ([`grounding`](crate::assistants::grounding)), tried
//! twice, and then replaced by wording made from the facts.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

use crate::assistants::grounding::{Material, overlap, similarity, whole_sentences};
use crate::assistants::json_text::JsonTextStream;
use crate::assistants::prompts::Prompts;
use crate::domain::{AssessmentCriterion, Grade, Objective, SectionName, Subject, TextSource};
use crate::runtime::{Constraint, FinishReason, GenerationEvent, GenerationRequest, Generator, Priority, Sampling};

use super::PlanError;
use super::draft::Draft;
use super::facts::{self, Facts, Source};

/// Attempts before the vetted wording is taken.
pub(super) const ATTEMPTS: u32 = 2;
/// Objectives of a plan.
const OBJECTIVES: usize = 4;
/// Criteria of the assessment.
const CRITERIA: usize = 3;
/// Two items more alike than this say the same.
const ALIKE: f64 = 0.75;
/// Longest wait for one text; eight plans share the model.
const TEXT_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// What the lesson is, for the prompts.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    pub topic: String,
    pub subject: Subject,
    pub grade: Grade,
    pub minutes: u16,
    pub notes: Option<String>,
    /// What the teacher wants changed; only when a section is written again.
    pub wish: Option<String>,
}

impl Brief {
    /// The values that every lesson prompt has, with `more` added.
    pub fn values(&self, more: Value) -> Value {
        let mut values = json!({
            "topic": self.topic,
            "subject": self.subject.label_zh(),
            "grade": self.grade.label_zh(),
            "lesson_minutes": self.minutes,
            "minutes": self.minutes,
            "notes": self.notes,
            "wish": self.wish,
        });
        if let (Value::Object(values), Value::Object(more)) = (&mut values, more) {
            values.extend(more);
        }
        values
    }

    /// The teacher's own words count as material: what they mention may be mentioned.
    pub fn own_words(&self) -> impl Iterator<Item = &str> {
        [Some(self.topic.as_str()), self.notes.as_deref(), self.wish.as_deref()].into_iter().flatten()
    }
}

/// One text that the model is to write.
pub(super) struct Task<'a> {
    /// `None` for the answer to a message.
    pub section: Option<SectionName>,
    pub template: &'a str,
    pub values: Value,
    pub schema: Value,
    pub max_tokens: usize,
    pub attempt: u32,
}

/// The model with its prompts.
pub(super) struct Writer<'a> {
    pub generator: &'a dyn Generator,
    pub prompts: &'a Prompts,
    pub seed: u64,
}

impl Writer<'_> {
    /// The parsed answer; `None` when it was cut or does not parse. The text inside is told to the draft's listener as it
    /// arrives.
    pub async fn json<T: DeserializeOwned>(&self, draft: &mut Draft, task: Task<'_>) -> Result<Option<T>, PlanError> {
        let request = GenerationRequest {
            messages: self.prompts.render(task.template, &task.values)?,
            sampling: Sampling {
                temperature: 0.6,
                top_p: 0.9,
                repetition_penalty: 1.05,
                seed: Some(self.seed.wrapping_add(u64::from(task.attempt))),
                ..Sampling::default()
            },
            max_tokens: Some(task.max_tokens),
            stop: Vec::new(),
            constraint: Some(Constraint::JsonSchema(task.schema)),
            priority: Priority::Interactive,
            deadline: Some(TEXT_DEADLINE),
        };
        let mut stream = self.generator.generate(request).await?;
        let mut shown = JsonTextStream::hiding(&["source", "competency", "section"]);
        let mut text = String::new();
        while let Some(event) = stream.recv().await {
            match event? {
                GenerationEvent::Text(piece) => {
                    draft.delta(task.section, shown.push(&piece)).await;
                    text.push_str(&piece);
                }
                GenerationEvent::Finished { reason, .. } => {
                    let parsed = serde_json::from_str(&text);
                    if reason == FinishReason::Length || parsed.is_err() {
                        tracing::warn!(template = task.template, ?reason, "the model's answer was not complete");
                    }
                    return Ok(parsed.ok());
                }
            }
        }
        Err(PlanError::Internal("the generation ended without its last event".to_owned()))
    }
}

/// A JSON schema for an object with these properties, all required, nothing else.
pub(super) fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

pub(super) fn text(longest: usize) -> Value {
    json!({"type": "string", "minLength": 4, "maxLength": longest})
}

/// The facts that objectives and rewrites rest on: definitions, key points, standards.
pub(super) fn sources(facts: &Facts, draft: &mut Draft) -> Vec<Source> {
    let mut sources = Vec::new();
    for concept in &facts.concepts {
        sources.push(draft.source(facts::of_concept(concept, &concept.definition), concept.definition.clone()));
    }
    for (concept, point) in facts.in_turn(5, |concept| concept.key_points.clone()) {
        sources.push(draft.source(facts::of_concept(concept, &point), point.clone()));
    }
    for standard in facts.concepts.iter().flat_map(|concept| &concept.standards).take(2) {
        sources.push(draft.source(facts::of_standard(standard), standard.text.clone()));
    }
    sources
}

pub(super) fn keys(sources: &[Source]) -> Vec<&str> {
    let mut keys: Vec<&str> = sources.iter().map(|source| source.key.as_str()).collect();
    keys.dedup();
    keys
}

#[derive(Deserialize)]
struct WrittenObjectives {
    objectives: Vec<WrittenObjective>,
}

#[derive(Deserialize)]
struct WrittenObjective {
    text: String,
    competency: String,
    source: String,
}

/// Three to four objectives; each keeps the source that its words fit best.
pub(super) async fn objectives(
    writer: &Writer<'_>,
    brief: &Brief,
    facts: &Facts,
    draft: &mut Draft,
) -> Result<Vec<Objective>, PlanError> {
    let section = SectionName::Objectives;
    let sources = sources(facts, draft);
    let competencies = competencies(facts);
    let material = Material::new(sources.iter().map(|source| source.text.as_str()).chain(brief.own_words()));
    let schema = object(json!({"objectives": {
        "type": "array", "minItems": OBJECTIVES - 1, "maxItems": OBJECTIVES,
        "items": object(json!({
            "text": text(60),
            "competency": {"enum": competencies},
            "source": {"enum": keys(&sources)},
        })),
    }}));
    let mut accepted: Vec<Objective> = Vec::new();
    for attempt in 1..=ATTEMPTS {
        draft.started(section, attempt).await;
        let values = brief.values(json!({
            "material": sources, "competencies": competencies, "count": OBJECTIVES,
        }));
        let task = Task {
            section: Some(section),
            template: "lesson/objectives.j2",
            values,
            schema: schema.clone(),
            max_tokens: 420,
            attempt,
        };
        let written: Option<WrittenObjectives> = writer.json(draft, task).await?;
        for item in written.into_iter().flat_map(|written| written.objectives) {
            let Some(text) = whole_sentences(&item.text) else { continue };
            let repeats = accepted.iter().any(|known| similarity(&known.text, &text) > ALIKE);
            if repeats || accepted.len() == OBJECTIVES {
                continue;
            }
            if let Err(reason) = material.check(&text) {
                tracing::info!(?reason, "objective refused");
                continue;
            }
            let Some(key) = best_source(&sources, &item.source, &text) else { continue };
            let source = Some(TextSource::Model);
            accepted.push(Objective { text, competency: item.competency, citations: vec![key], source });
        }
        if accepted.len() >= OBJECTIVES - 1 {
            return Ok(accepted);
        }
    }
    complete_objectives(facts, draft, &competencies, &mut accepted);
    Ok(accepted)
}

/// The source that the model named, unless another one shares far more words with the text; `None` when no source has any
/// of its words.
pub(super) fn best_source(sources: &[Source], named: &str, text: &str) -> Option<String> {
    let support = |source: &&Source| overlap(text, &source.text);
    let best = sources.iter().max_by(|left, right| support(left).total_cmp(&support(right)))?;
    let named = sources.iter().find(|source| source.key == named).unwrap_or(best);
    let chosen = if support(&best) > support(&named) + 0.05 { best } else { named };
    (support(&best) > 0.0).then(|| chosen.key.clone())
}

fn competencies(facts: &Facts) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for competency in facts.concepts.iter().flat_map(|concept| &concept.competencies) {
        if !labels.contains(&competency.label) {
            labels.push(competency.label.clone());
        }
    }
    labels
}

/// Objectives made from the key points, for what the model did not deliver.
fn complete_objectives(facts: &Facts, draft: &mut Draft, competencies: &[String], accepted: &mut Vec<Objective>) {
    let points = facts.in_turn(OBJECTIVES, |concept| concept.key_points.clone());
    for (index, (concept, point)) in points.into_iter().enumerate() {
        if accepted.len() >= OBJECTIVES - 1 {
            return;
        }
        let text = format!("理解并能用自己的话说明：{point}");
        if accepted.iter().any(|known| similarity(&known.text, &text) > ALIKE) {
            continue;
        }
        let competency = competencies.get(index % competencies.len().max(1)).cloned().unwrap_or_default();
        let key = draft.cite(facts::of_concept(concept, &point));
        let source = Some(TextSource::Vetted);
        accepted.push(Objective { text, competency, citations: vec![key], source });
    }
}

#[derive(Deserialize)]
struct WrittenAssessment {
    criteria: Vec<WrittenCriterion>,
}

#[derive(Deserialize)]
struct WrittenCriterion {
    developing: String,
    achieved: String,
    excellent: String,
}

/// One criterion for each of the first objectives, with three levels.
pub(super) async fn assessment(
    writer: &Writer<'_>,
    brief: &Brief,
    objectives: &[Objective],
    draft: &mut Draft,
) -> Result<Vec<AssessmentCriterion>, PlanError> {
    let section = SectionName::Assessment;
    let objectives = &objectives[..objectives.len().min(CRITERIA)];
    let texts: Vec<&str> = objectives.iter().map(|objective| objective.text.as_str()).collect();
    let material = Material::new(texts.iter().copied().chain(brief.own_words()));
    let schema = object(json!({"criteria": {
        "type": "array", "minItems": objectives.len(), "maxItems": objectives.len(),
        "items": object(json!({
            "developing": text(45), "achieved": text(45), "excellent": text(45),
        })),
    }}));
    let mut criteria: Vec<Option<AssessmentCriterion>> = vec![None; objectives.len()];
    for attempt in 1..=ATTEMPTS {
        draft.started(section, attempt).await;
        let task = Task {
            section: Some(section),
            template: "lesson/assessment.j2",
            values: brief.values(json!({"objectives": texts})),
            schema: schema.clone(),
            max_tokens: 480,
            attempt,
        };
        let written: Option<WrittenAssessment> = writer.json(draft, task).await?;
        let written = written.into_iter().flat_map(|written| written.criteria);
        for ((slot, objective), item) in criteria.iter_mut().zip(objectives).zip(written) {
            if slot.is_none() {
                *slot = checked_criterion(item, objective, &material);
            }
        }
        if criteria.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(criteria
        .into_iter()
        .zip(objectives)
        .map(|(written, objective)| written.unwrap_or_else(|| plain_criterion(objective)))
        .collect())
}

fn checked_criterion(
    item: WrittenCriterion,
    objective: &Objective,
    material: &Material,
) -> Option<AssessmentCriterion> {
    let levels = [&item.developing, &item.achieved, &item.excellent].map(|level| whole_sentences(level));
    let levels: Vec<String> = levels.into_iter().collect::<Option<_>>()?;
    let grounded = levels.iter().all(|text| material.check(text).is_ok());
    let distinct = similarity(&levels[0], &levels[1]) < ALIKE
        && similarity(&levels[1], &levels[2]) < ALIKE
        && similarity(&levels[0], &levels[2]) < ALIKE;
    (grounded && distinct).then(|| criterion(objective, levels, TextSource::Model))
}

/// What is observed is the objective itself.
fn criterion(objective: &Objective, levels: Vec<String>, source: TextSource) -> AssessmentCriterion {
    let criterion = objective.text.trim_end_matches('。').to_owned();
    AssessmentCriterion { criterion, levels, citations: objective.citations.clone(), source: Some(source) }
}

fn plain_criterion(objective: &Objective) -> AssessmentCriterion {
    let levels = [
        "在同伴或教师的提示下能完成一部分。",
        "能独立、正确地完成，并说出主要依据。",
        "能举出自己的例子，向同伴讲清道理，并用到新的情境中。",
    ];
    criterion(objective, levels.map(str::to_owned).to_vec(), TextSource::Vetted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(key: &str, text: &str) -> Source {
        Source { key: key.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_named_source_stays_unless_another_fits_far_better() {
        let sources = [source("c1", "方程是含有未知数的等式。"), source("c2", "移项要变号，依据是等式的性质。")];
        assert_eq!(best_source(&sources, "c1", "能说出方程是含有未知数的等式。").as_deref(), Some("c1"));
        assert_eq!(best_source(&sources, "c1", "知道移项要变号，依据是等式的性质。").as_deref(), Some("c2"));
        assert_eq!(best_source(&sources, "c1", "光合作用").as_deref(), None);
    }

    #[test]
    fn levels_that_say_the_same_are_refused() {
        let objective = Objective {
            text: "会解方程。".into(),
            competency: "运算能力".into(),
            citations: vec!["c1".into()],
            source: None,
        };
        let item = |excellent: &str| WrittenCriterion {
            developing: "需要提示才能解方程。".into(),
            achieved: "能独立解方程。".into(),
            excellent: excellent.into(),
        };
        let material = Material::default();
        assert!(checked_criterion(item("能独立解方程。"), &objective, &material).is_none());
        assert!(checked_criterion(item("能讲清每一步的理由。"), &objective, &material).is_some());
        assert!(checked_criterion(item("能解 99 道题并讲清。"), &objective, &material).is_none());
    }
}
