//! What every delivered plan satisfies, whoever wrote its parts.

use std::collections::HashSet;

use crate::domain::{Citation, CitationKeys, CitationKind, Coverage, LessonPlan};
use crate::graph::KnowledgeGraph;

/// One thing that is wrong with a plan; `field` is a path such as `sections.procedure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub field: &'static str,
    /// For the teacher, in Chinese.
    pub reason: String,
}

/// All citation lists of the plan's items, in order.
fn items(plan: &LessonPlan) -> Vec<&CitationKeys> {
    let sections = &plan.sections;
    let homework = &sections.homework;
    let mut items: Vec<&CitationKeys> = Vec::new();
    items.extend(sections.objectives.iter().map(|item| &item.citations));
    items.extend(sections.standards.iter().map(|item| &item.citations));
    items.extend(sections.prerequisites.iter().map(|item| &item.citations));
    items.extend(sections.key_points.iter().map(|item| &item.citations));
    items.extend(sections.difficulties.iter().map(|item| &item.citations));
    items.extend(sections.misconceptions.iter().map(|item| &item.citations));
    items.extend(sections.procedure.iter().map(|item| &item.citations));
    for level in [&homework.basic, &homework.standard, &homework.challenge] {
        items.extend(level.iter().map(|item| &item.citations));
    }
    items.extend(sections.assessment.iter().map(|item| &item.citations));
    items
}

/// Whether a citation's reference exists. Passages were read from the index in this very request, or in the one that made
/// the plan; the graph's things are looked up again.
fn resolves(citation: &Citation, graph: &KnowledgeGraph) -> bool {
    match citation.kind {
        CitationKind::Concept => graph.concept(&citation.reference).is_some(),
        CitationKind::Standard => graph.standard(&citation.reference).is_some(),
        CitationKind::Exercise => graph.exercise(&citation.reference).is_some(),
        CitationKind::Document => true,
    }
}

/// Share of items with a citation that resolves, and the standards covered.
pub(super) fn coverage(plan: &LessonPlan, graph: &KnowledgeGraph) -> Coverage {
    let items = items(plan);
    let good = |key: &String| plan.citations.get(key).is_some_and(|citation| resolves(citation, graph));
    let cited = items.iter().filter(|keys| keys.iter().any(good)).count();
    let mut standards: Vec<String> = Vec::new();
    let used = plan.sections.standards.iter().flat_map(|item| &item.citations);
    for citation in used.filter_map(|key| plan.citations.get(key)) {
        if citation.kind == CitationKind::Standard && !standards.contains(&citation.reference) {
            standards.push(citation.reference.clone());
        }
    }
    let cited_fraction = if items.is_empty() { 0.0 } else { cited as f64 / items.len() as f64 };
    Coverage { cited_fraction, standards }
}

/// Every violation; an empty list is a valid plan.
pub(super) fn violations(plan: &LessonPlan, graph: &KnowledgeGraph) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut wrong = |field, reason: String| found.push(Violation { field, reason });
    let sections = &plan.sections;
    let minutes: u32 = sections.procedure.iter().map(|step| u32::from(step.minutes)).sum();
    if minutes != u32::from(plan.minutes) {
        wrong("sections.procedure", format!("各环节共 {minutes} 分钟，与课时 {} 分钟不一致", plan.minutes));
    }
    if sections.procedure.iter().any(|step| step.minutes == 0) {
        wrong("sections.procedure", "每个环节至少 1 分钟".to_owned());
    }
    for key in items(plan).into_iter().flatten() {
        match plan.citations.get(key) {
            None => wrong("sections", format!("引用 {key} 不存在")),
            Some(citation) if !resolves(citation, graph) => {
                wrong("citations", format!("引用 {key} 指向的 {} 不存在", citation.reference));
            }
            Some(_) => {}
        }
    }
    let empty = [
        (sections.objectives.is_empty(), "sections.objectives"),
        (sections.key_points.is_empty(), "sections.key_points"),
        (sections.procedure.is_empty(), "sections.procedure"),
        (sections.board.trim().is_empty(), "sections.board"),
        (sections.assessment.is_empty(), "sections.assessment"),
    ];
    for (_, field) in empty.into_iter().filter(|(is_empty, _)| *is_empty) {
        wrong(field, "这一部分不能为空".to_owned());
    }
    let homework = &sections.homework;
    let prompts =
        [&homework.basic, &homework.standard, &homework.challenge].into_iter().flatten().map(|item| &item.prompt);
    repeated(prompts, "sections.homework", &mut wrong);
    repeated(sections.objectives.iter().map(|item| &item.text), "sections.objectives", &mut wrong);
    repeated(sections.key_points.iter().map(|item| &item.text), "sections.key_points", &mut wrong);
    found
}

fn repeated<'a>(
    texts: impl Iterator<Item = &'a String>,
    field: &'static str,
    wrong: &mut impl FnMut(&'static str, String),
) {
    let mut seen = HashSet::new();
    for text in texts {
        if !seen.insert(text.trim()) {
            wrong(field, format!("内容重复：{text}"));
        }
    }
}
