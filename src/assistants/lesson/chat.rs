//! The chat beside a plan: questions are answered from the material with a citation for every sentence, wishes change the
//! section they mean.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::assistants::grounding::{Material, overlap, whole_sentences};
use crate::domain::{LessonPlan, Principal, SectionName};
use crate::store::plans::{MessageRole, PlanMessage};

use super::draft::{Draft, EventSender};
use super::edit::{self, Change};
use super::facts::{self, CitationBook, Facts, Source};
use super::intent::{self, Intent};
use super::planner::{LessonPlanner, announce, brief, spawn};
use super::write::{ATTEMPTS, Task, Writer, best_source, keys, object, text};
use super::{PlanError, PlanEvent, PlanStream, TEXT_LIMIT};

/// Sources given to the model for one answer.
const SOURCES: usize = 7;
/// Passages of the index among them, at most.
const PASSAGES: usize = 3;
/// Characters of one source.
const SOURCE_LENGTH: usize = 220;
/// Sentences of one answer.
const SENTENCES: usize = 4;
/// Messages of the conversation that the model sees.
const HISTORY: usize = 4;
/// A question shares at least this part of its character pairs with some source, or there is no answer in the material.
const SUPPORT: f64 = 0.12;
const NO_SUPPORT: &str =
    "知识图谱和已收录的资料里没有能回答这个问题的内容，所以不作回答，以免误导。可以换一种问法，或先上传相关资料。";

impl LessonPlanner {
    /// Starts the answer to a message. The stream ends with [`PlanEvent::Answered`].
    pub async fn message(&self, principal: Principal, id: Uuid, text: String) -> Result<PlanStream, PlanError> {
        let text = text.trim().to_owned();
        if text.is_empty() || text.chars().count() > TEXT_LIMIT {
            let reason = format!("请输入 1 到 {TEXT_LIMIT} 个字");
            return Err(PlanError::InvalidField { field: "text", reason });
        }
        let plan = self.get(&principal, id).await?;
        let planner = self.clone();
        Ok(spawn(move |events| async move { planner.respond(principal, plan, text, events).await }))
    }

    async fn respond(
        self,
        principal: Principal,
        mut plan: LessonPlan,
        question: String,
        events: EventSender,
    ) -> Result<(), PlanError> {
        let history = self.plans().messages(plan.id, HISTORY).await?;
        let asked = PlanMessage {
            id: Uuid::now_v7(),
            role: MessageRole::User,
            text: question.clone(),
            citations: Vec::new(),
            section: None,
            created_at: Timestamp::now(),
        };
        let read_at = plan.updated_at;
        let facts = self.facts_of(&principal, &plan).await?;
        let writer = self.writer();
        let mut draft = Draft::new(CitationBook::of(&plan.citations), Some(events));
        let change = match intent::read(&question) {
            Intent::Question => {
                let sources = self.sources(&principal, &plan, &facts, &question, &mut draft).await;
                let text = answer(&writer, &plan, &sources, &history, &question, &mut draft).await?;
                Change { section: None, reply: text }
            }
            Intent::Length(minutes) => {
                draft.started(SectionName::Procedure, 1).await;
                let change = edit::set_length(&mut plan, minutes);
                announce(&plan, SectionName::Procedure, &mut draft).await?;
                self.tell(change, &mut draft).await
            }
            Intent::Change { section, phase } => {
                let change = edit::fulfil(&writer, &facts, &mut plan, (section, phase), &question, &mut draft).await?;
                self.tell(change, &mut draft).await
            }
            Intent::ChangeSomething => {
                let section = section_meant(&writer, &question, &mut draft).await?;
                let change = edit::fulfil(&writer, &facts, &mut plan, (section, None), &question, &mut draft).await?;
                self.tell(change, &mut draft).await
            }
        };
        let citations = cited(&change.reply);
        let id = plan.id;
        // An answer may cite what the plan has not cited yet; the plan's citations grow with it.
        let plan = if change.section.is_some() || !citations.is_empty() {
            Some(Box::new(self.finish(&principal, plan, &draft, read_at).await?))
        } else {
            None
        };
        let answered = PlanMessage {
            id: Uuid::now_v7(),
            role: MessageRole::Assistant,
            text: change.reply,
            citations,
            section: change.section,
            created_at: Timestamp::now(),
        };
        self.plans().add_message(id, &asked).await?;
        self.plans().add_message(id, &answered).await?;
        draft.emit(PlanEvent::Answered { message: answered, plan }).await;
        Ok(())
    }

    /// Says what became of a wish.
    async fn tell(&self, change: Change, draft: &mut Draft) -> Change {
        draft.delta(None, change.reply.clone()).await;
        change
    }

    /// The material that speaks of the question: facts of the plan's concepts and passages of the index, best first.
    async fn sources(
        &self,
        principal: &Principal,
        plan: &LessonPlan,
        facts: &Facts,
        question: &str,
        draft: &mut Draft,
    ) -> Vec<Source> {
        let mut candidates = Vec::new();
        for concept in &facts.concepts {
            let mut add = |text: String, citation| candidates.push((text, citation));
            add(concept.definition.clone(), facts::of_concept(concept, &concept.definition));
            for point in &concept.key_points {
                add(point.clone(), facts::of_concept(concept, point));
            }
            for difficulty in &concept.difficulties {
                let text = format!("{} 突破：{}", difficulty.text, difficulty.remedy);
                add(text, facts::of_concept(concept, &difficulty.text));
            }
            for item in &concept.misconceptions {
                let text = format!("易错：{} {} 应对：{}", item.text, item.sample, item.response);
                add(text, facts::of_misconception(concept, item));
            }
            for note in &concept.prerequisites {
                let text = format!("先备知识“{}”：{}", note.label, note.reason);
                add(text, facts::of_prerequisite(concept, note));
            }
            for standard in &concept.standards {
                add(format!("课标：{}", standard.text), facts::of_standard(standard));
            }
            for context in &concept.contexts {
                add(format!("生活情境：{context}"), facts::of_concept(concept, context));
            }
        }
        for hit in self.passages(principal, question, (plan.subject, None), PASSAGES).await {
            candidates.push((hit.text.chars().take(SOURCE_LENGTH).collect(), facts::of_passage(&hit)));
        }
        let topic_free = question.replace(&plan.topic, "");
        let mut ranked: Vec<(f64, (String, _))> =
            candidates.into_iter().map(|candidate| (overlap(&topic_free, &candidate.0), candidate)).collect();
        ranked.sort_by(|left, right| right.0.total_cmp(&left.0));
        let asks_for_the_topic =
            question.contains(&plan.topic) || question.contains("这节课") || question.contains("本课");
        if ranked.first().is_none_or(|(best, _)| *best < SUPPORT) && !asks_for_the_topic {
            return Vec::new();
        }
        ranked.into_iter().take(SOURCES).map(|(_, (text, citation))| draft.source(citation, text)).collect()
    }
}

#[derive(Deserialize)]
struct WrittenAnswer {
    answer: Vec<WrittenSentence>,
}

#[derive(Deserialize)]
struct WrittenSentence {
    text: String,
    source: String,
}

/// The answer with a citation mark after every sentence; quotes the best source when what the model wrote does not hold.
async fn answer(
    writer: &Writer<'_>,
    plan: &LessonPlan,
    sources: &[Source],
    history: &[PlanMessage],
    question: &str,
    draft: &mut Draft,
) -> Result<String, PlanError> {
    let Some(best) = sources.first() else {
        draft.delta(None, NO_SUPPORT.to_owned()).await;
        return Ok(NO_SUPPORT.to_owned());
    };
    let material = Material::new(sources.iter().map(|source| source.text.as_str()).chain([question]));
    let schema = object(json!({"answer": {
        "type": "array", "minItems": 1, "maxItems": SENTENCES,
        "items": object(json!({"text": text(90), "source": {"enum": keys(sources)}})),
    }}));
    let history: Vec<_> = history
        .iter()
        .map(|message| {
            let speaker = if message.role == MessageRole::User { "教师" } else { "助手" };
            json!({"speaker": speaker, "text": message.text})
        })
        .collect();
    for attempt in 1..=ATTEMPTS {
        let values = brief(plan, None).values(json!({
            "material": sources, "history": history, "question": question,
        }));
        let task = Task {
            section: None,
            template: "lesson/answer.j2",
            values,
            schema: schema.clone(),
            max_tokens: 420,
            attempt,
        };
        let Some(written) = writer.json::<WrittenAnswer>(draft, task).await? else { continue };
        let sentences: Vec<String> = written
            .answer
            .into_iter()
            .filter_map(|sentence| {
                let text = whole_sentences(&sentence.text)?;
                material.check(&text).ok()?;
                let source = best_source(sources, &sentence.source, &text)?;
                Some(format!("{text}[{source}]"))
            })
            .collect();
        if !sentences.is_empty() {
            return Ok(sentences.concat());
        }
    }
    Ok(format!("资料中这样说：{}[{}]", best.text, best.key))
}

#[derive(Deserialize)]
struct WrittenIntent {
    section: SectionName,
}

/// Asks the model which section a wish means; the procedure when it cannot say.
async fn section_meant(writer: &Writer<'_>, text: &str, draft: &mut Draft) -> Result<SectionName, PlanError> {
    let sections: Vec<_> =
        SectionName::ALL.iter().map(|section| json!({"id": section.id(), "label": section.label_zh()})).collect();
    let ids: Vec<&str> = SectionName::ALL.iter().map(|section| section.id()).collect();
    let task = Task {
        section: None,
        template: "lesson/intent.j2",
        values: json!({"sections": sections, "text": text}),
        schema: object(json!({"section": {"enum": ids}})),
        max_tokens: 20,
        attempt: 1,
    };
    let written = writer.json::<WrittenIntent>(draft, task).await?;
    Ok(written.map_or(SectionName::Procedure, |written| written.section))
}

/// The citation keys marked in a text, each once, in order.
fn cited(text: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for part in text.split("[c").skip(1) {
        let number: String = part.chars().take_while(char::is_ascii_digit).collect();
        let key = format!("c{number}");
        if !number.is_empty() && part[number.len()..].starts_with(']') && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citation_marks_are_read_once_each_in_order() {
        assert_eq!(cited("甲。[c2]乙。[c10]丙。[c2]"), ["c2", "c10"]);
        assert_eq!(cited("[cx] [c] [c3"), Vec::<String>::new());
    }
}
