//! Takes requests for plans, gathers the facts, runs the sections in order and keeps the results.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use crate::assistants::prompts::Prompts;
use crate::domain::{
    ConceptRef, Coverage, GeneratedBy, Grade, LessonPlan, LessonSections, Principal, SectionName, Subject,
};
use crate::graph::{Concept, KnowledgeGraph, LinkContext, LinkedConcept, Linker};
use crate::retrieval::{Collection, DocumentKind, Hit, SearchRequest, Searcher};
use crate::runtime::Generator;
use crate::safety;
use crate::store::plans::PlanStore;

use super::compose::{self, HomeworkSize};
use super::draft::{Draft, EventSender};
use super::edit::{self, SectionsPatch};
use super::facts::{CitationBook, Facts};
use super::write::{self, Brief, Writer};
use super::{LessonRequest, PlanError, PlanEvent, PlanStream, procedure, validate};

/// Concepts of one lesson; more do not fit into it.
const CONCEPTS: usize = 3;
/// A further concept belongs to the lesson when its link is at least this fraction of the best one's.
const FURTHER_CONCEPT: f64 = 0.85;
/// Suggestions for an unknown topic.
const SUGGESTIONS: usize = 5;
/// Concepts less like the topic than this are no help.
const NEAR: f64 = 0.05;
/// Passages gathered for a plan.
const PASSAGES: usize = 3;
/// Events that a slow client may lag behind before the writing waits for it.
const EVENT_BUFFER: usize = 256;
/// What a refused caller is told to wait: about the time of one plan.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a planner works with.
pub struct PlannerParts {
    pub graph: Arc<KnowledgeGraph>,
    pub linker: Arc<Linker>,
    pub searcher: Arc<Searcher>,
    pub generator: Arc<dyn Generator>,
    pub plans: PlanStore,
    pub prompts: Arc<Prompts>,
    /// Plans written at the same time; one more is refused.
    pub max_concurrent: usize,
}

/// The lesson-preparation assistant. Cheap to clone.
#[derive(Clone)]
pub struct LessonPlanner {
    pub(super) parts: Arc<PlannerParts>,
    permits: Arc<Semaphore>,
}

impl LessonPlanner {
    pub fn new(parts: PlannerParts) -> Self {
        let permits = Arc::new(Semaphore::new(parts.max_concurrent));
        Self { parts: Arc::new(parts), permits }
    }

    /// The stored plans.
    pub fn plans(&self) -> &PlanStore {
        &self.parts.plans
    }

    /// Starts writing a plan. What can be refused is refused here, before the first event.
    pub fn create(&self, principal: Principal, request: LessonRequest) -> Result<PlanStream, PlanError> {
        request.check()?;
        let concepts = self.concepts_of(&request)?;
        let permit = self.permit()?;
        let planner = self.clone();
        Ok(spawn(move |events| async move {
            let _permit = permit;
            planner.write_plan(principal, request, concepts, events).await
        }))
    }

    /// Writes one section of a stored plan again.
    pub async fn regenerate(
        &self,
        principal: &Principal,
        id: Uuid,
        section: SectionName,
    ) -> Result<LessonPlan, PlanError> {
        let mut plan = self.get(principal, id).await?;
        let read_at = plan.updated_at;
        let mut draft = Draft::new(CitationBook::of(&plan.citations), None);
        let facts = self.facts_of(principal, &plan).await?;
        edit::write_again(&self.writer(), &facts, &mut plan, section, &mut draft).await?;
        self.finish(principal, plan, &draft, read_at).await
    }

    /// Takes a teacher's own changes.
    pub async fn patch(&self, principal: &Principal, id: Uuid, patch: SectionsPatch) -> Result<LessonPlan, PlanError> {
        let mut plan = self.get(principal, id).await?;
        let read_at = plan.updated_at;
        patch.apply(&mut plan, &self.parts.graph)?;
        if let Some(violation) = validate::violations(&plan, &self.parts.graph).into_iter().next() {
            return Err(PlanError::InvalidField { field: violation.field, reason: violation.reason });
        }
        let draft = Draft::new(CitationBook::of(&plan.citations), None);
        self.finish(principal, plan, &draft, read_at).await
    }

    pub async fn get(&self, principal: &Principal, id: Uuid) -> Result<LessonPlan, PlanError> {
        self.parts.plans.get(principal, id).await?.ok_or(PlanError::NotFound)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, PlanError> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| PlanError::Busy { retry_after: RETRY_AFTER })
    }

    pub(super) fn writer(&self) -> Writer<'_> {
        Writer { generator: self.parts.generator.as_ref(), prompts: &self.parts.prompts, seed: rand::random() }
    }

    /// The concepts that the topic names, the main one first.
    fn concepts_of(&self, request: &LessonRequest) -> Result<Vec<Arc<Concept>>, PlanError> {
        let graph = &self.parts.graph;
        let context = LinkContext { subject: Some(request.subject), grade: Some(request.grade) };
        let linked = self.parts.linker.link(&request.topic, context);
        let best = linked.first().map_or(0.0, |link| link.score);
        let concepts: Vec<Arc<Concept>> = linked
            .iter()
            .filter(|link| link.score >= best * FURTHER_CONCEPT)
            .filter_map(|link| graph.concept(&link.id))
            .filter(|concept| concept.subject == request.subject)
            .take(CONCEPTS)
            .cloned()
            .collect();
        if concepts.is_empty() {
            let suggestions = self.suggestions(&request.topic, request.subject);
            return Err(PlanError::UnknownTopic { topic: request.topic.clone(), suggestions });
        }
        Ok(concepts)
    }

    fn suggestions(&self, topic: &str, subject: Subject) -> Vec<LinkedConcept> {
        let of_subject =
            |link: &LinkedConcept| self.parts.graph.concept(&link.id).is_some_and(|concept| concept.subject == subject);
        let nearest = self.parts.linker.nearest(topic, SUGGESTIONS * 2).into_iter();
        nearest.filter(|link| link.score >= NEAR && of_subject(link)).take(SUGGESTIONS).collect()
    }

    async fn gather(
        &self,
        principal: &Principal,
        concepts: Vec<Arc<Concept>>,
        (topic, subject, grade): (&str, Subject, Grade),
    ) -> Facts {
        let graph = &self.parts.graph;
        let of = |id: &str| graph.exercises_of(id).into_iter().cloned();
        let exercises = concepts.iter().flat_map(|concept| of(&concept.id)).collect();
        let taught: Vec<&str> = concepts.iter().map(|concept| concept.id.as_str()).collect();
        let revision_exercises = concepts
            .iter()
            .flat_map(|concept| &concept.prerequisites)
            .filter(|note| !taught.contains(&note.id.as_str()))
            .flat_map(|note| of(&note.id))
            .collect();
        let query = format!("{}{topic}教学", grade.label_zh());
        let passages = self.passages(principal, &query, (subject, None), PASSAGES).await;
        Facts { concepts, exercises, revision_exercises, passages }
    }

    /// Document passages for a query; none when the index cannot answer, which costs a plan only its passages.
    pub(super) async fn passages(
        &self,
        principal: &Principal,
        query: &str,
        (subject, grade): (Subject, Option<Grade>),
        limit: usize,
    ) -> Vec<Hit> {
        let request = SearchRequest {
            query: query.to_owned(),
            collection: Some(Collection::Curriculum),
            subject: Some(subject),
            grade,
            // Concepts are in the index too; the graph itself is the better source for them.
            limit: limit * 4,
            school: principal.school.clone(),
        };
        match self.parts.searcher.search(&request).await {
            Ok(response) => {
                response.hits.into_iter().filter(|hit| hit.kind == DocumentKind::Document).take(limit).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "no passages");
                Vec::new()
            }
        }
    }

    /// The facts that a stored plan rests on.
    pub(super) async fn facts_of(&self, principal: &Principal, plan: &LessonPlan) -> Result<Facts, PlanError> {
        let graph = &self.parts.graph;
        let concepts: Vec<Arc<Concept>> =
            plan.concepts.iter().filter_map(|concept| graph.concept(&concept.id)).cloned().collect();
        if concepts.is_empty() {
            return Err(PlanError::UnknownTopic { topic: plan.topic.clone(), suggestions: Vec::new() });
        }
        Ok(self.gather(principal, concepts, (&plan.topic, plan.subject, plan.grade)).await)
    }

    async fn write_plan(
        self,
        principal: Principal,
        request: LessonRequest,
        concepts: Vec<Arc<Concept>>,
        events: EventSender,
    ) -> Result<(), PlanError> {
        let id = Uuid::now_v7();
        let topic = request.topic.trim().to_owned();
        let facts = self.gather(&principal, concepts, (&topic, request.subject, request.grade)).await;
        let concepts: Vec<ConceptRef> = facts
            .concepts
            .iter()
            .map(|concept| ConceptRef { id: concept.id.clone(), label: concept.label.clone() })
            .collect();
        let mut draft = Draft::new(CitationBook::default(), Some(events));
        draft
            .emit(PlanEvent::Created {
                plan_id: id,
                topic: topic.clone(),
                concepts: concepts.clone(),
                sections: SectionName::ALL.to_vec(),
            })
            .await;
        let now = Timestamp::now();
        let mut plan = LessonPlan {
            id,
            topic,
            subject: request.subject,
            grade: request.grade,
            minutes: request.minutes,
            language: request.language,
            class_id: request.class_id,
            notes: request.notes,
            concepts,
            sections: LessonSections::default(),
            citations: Default::default(),
            coverage: Coverage::default(),
            generated_by: GeneratedBy {
                model: self.parts.generator.model().name,
                prompt_version: Prompts::version("lesson"),
                label: safety::ai_label(request.language).to_owned(),
            },
            created_at: now,
            updated_at: now,
        };
        let writer = self.writer();
        for section in SectionName::ALL {
            write_section(&writer, &facts, &mut plan, section, &mut draft).await?;
        }
        self.complete(&mut plan, &draft)?;
        self.parts.plans.insert(&principal, &plan).await?;
        metrics::counter!("zhujiao_lesson_plans_total").increment(1);
        draft.emit(PlanEvent::Done { plan: Box::new(plan) }).await;
        Ok(())
    }

    /// Fills in what is computed, and refuses a plan that is not valid.
    fn complete(&self, plan: &mut LessonPlan, draft: &Draft) -> Result<(), PlanError> {
        plan.citations = draft.book.to_map();
        plan.coverage = validate::coverage(plan, &self.parts.graph);
        match validate::violations(plan, &self.parts.graph).as_slice() {
            [] => Ok(()),
            violations => Err(PlanError::Internal(format!("the plan is not valid: {violations:?}"))),
        }
    }

    /// Stores a changed plan, unless someone else was faster.
    pub(super) async fn finish(
        &self,
        principal: &Principal,
        mut plan: LessonPlan,
        draft: &Draft,
        read_at: Timestamp,
    ) -> Result<LessonPlan, PlanError> {
        self.complete(&mut plan, draft)?;
        plan.updated_at = Timestamp::now();
        if !self.parts.plans.update(principal, &plan, read_at).await? {
            return Err(PlanError::Conflict);
        }
        Ok(plan)
    }
}

/// What a plan says of its lesson, for the prompts.
pub(super) fn brief(plan: &LessonPlan, wish: Option<&str>) -> Brief {
    Brief {
        topic: plan.topic.clone(),
        subject: plan.subject,
        grade: plan.grade,
        minutes: plan.minutes,
        notes: plan.notes.clone(),
        wish: wish.map(str::to_owned),
    }
}

/// Writes one section into the plan and announces it.
pub(super) async fn write_section(
    writer: &Writer<'_>,
    facts: &Facts,
    plan: &mut LessonPlan,
    section: SectionName,
    draft: &mut Draft,
) -> Result<(), PlanError> {
    let choice = compose::choose_exercises(facts, HomeworkSize::default());
    let brief = brief(plan, None);
    let sections = &mut plan.sections;
    if compose::is_composed(section) {
        draft.started(section, 1).await;
    }
    match section {
        SectionName::Objectives => sections.objectives = write::objectives(writer, &brief, facts, draft).await?,
        SectionName::Standards => sections.standards = compose::standards(facts, draft),
        SectionName::Prerequisites => sections.prerequisites = compose::prerequisites(facts, draft),
        SectionName::KeyPoints => sections.key_points = compose::key_points(facts, draft),
        SectionName::Difficulties => sections.difficulties = compose::difficulties(facts, draft),
        SectionName::Misconceptions => sections.misconceptions = compose::misconceptions(facts, draft),
        SectionName::Procedure => {
            sections.procedure = procedure::procedure(writer, &brief, facts, &choice, draft).await?;
        }
        SectionName::Board => sections.board = compose::board(facts, &brief.topic),
        SectionName::Homework => sections.homework = compose::homework(&choice, draft),
        SectionName::Assessment => {
            sections.assessment = write::assessment(writer, &brief, &sections.objectives, draft).await?;
        }
    }
    announce(plan, section, draft).await
}

/// Tells the listener a section's content.
pub(super) async fn announce(plan: &LessonPlan, section: SectionName, draft: &mut Draft) -> Result<(), PlanError> {
    let sections = &plan.sections;
    match section {
        SectionName::Objectives => draft.completed(section, &sections.objectives).await,
        SectionName::Standards => draft.completed(section, &sections.standards).await,
        SectionName::Prerequisites => draft.completed(section, &sections.prerequisites).await,
        SectionName::KeyPoints => draft.completed(section, &sections.key_points).await,
        SectionName::Difficulties => draft.completed(section, &sections.difficulties).await,
        SectionName::Misconceptions => draft.completed(section, &sections.misconceptions).await,
        SectionName::Procedure => draft.completed(section, &sections.procedure).await,
        SectionName::Board => draft.completed(section, &sections.board).await,
        SectionName::Homework => draft.completed(section, &sections.homework).await,
        SectionName::Assessment => draft.completed(section, &sections.assessment).await,
    }
}

/// Runs `work` until it ends or the listener leaves; an error becomes the stream's last item.
pub(super) fn spawn<F, Work>(work: F) -> PlanStream
where
    F: FnOnce(EventSender) -> Work + Send + 'static,
    Work: Future<Output = Result<(), PlanError>> + Send + 'static,
{
    let (events, stream) = mpsc::channel(EVENT_BUFFER);
    tokio::spawn(async move {
        let result = tokio::select! {
            result = work(events.clone()) => result,
            () = events.closed() => {
                tracing::info!("the client left; the writing stops");
                return;
            }
        };
        if let Err(error) = result {
            // The receiver may be gone by now; then nobody is left to tell.
            let _ = events.send(Err(error)).await;
        }
    });
    stream
}
