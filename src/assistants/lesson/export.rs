//! A plan as a Markdown document.

use std::fmt::Write;

use crate::domain::{ExerciseItem, LessonPlan, SectionName};

/// The whole plan, with its citations as numbered notes and the visible mark of AI content.
pub fn to_markdown(plan: &LessonPlan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_plan(&mut text, plan);
    text
}

fn write_plan(out: &mut String, plan: &LessonPlan) -> std::fmt::Result {
    let sections = &plan.sections;
    writeln!(out, "# {}\n", plan.topic)?;
    writeln!(out, "{}{} · {} 分钟\n", plan.grade.label_zh(), plan.subject.label_zh(), plan.minutes)?;
    writeln!(out, "> {}\n", plan.generated_by.label)?;
    heading(out, SectionName::Objectives)?;
    for (number, item) in (1..).zip(&sections.objectives) {
        writeln!(out, "{number}. {}（{}）{}", item.text, item.competency, marks(&item.citations))?;
    }
    heading(out, SectionName::Standards)?;
    for item in &sections.standards {
        writeln!(out, "- {}：{}{}", item.code, item.text, marks(&item.citations))?;
    }
    heading(out, SectionName::Prerequisites)?;
    for item in &sections.prerequisites {
        writeln!(out, "- {}：{}{}", item.label, item.check_question, marks(&item.citations))?;
    }
    heading(out, SectionName::KeyPoints)?;
    for item in &sections.key_points {
        writeln!(out, "- {}{}", item.text, marks(&item.citations))?;
    }
    heading(out, SectionName::Difficulties)?;
    for item in &sections.difficulties {
        writeln!(out, "- {}{}\n  - 突破：{}", item.text, marks(&item.citations), item.remedy)?;
    }
    heading(out, SectionName::Misconceptions)?;
    for item in &sections.misconceptions {
        writeln!(out, "- {}{}\n  - 应对：{}", item.text, marks(&item.citations), item.response)?;
    }
    heading(out, SectionName::Procedure)?;
    for (number, step) in (1..).zip(&sections.procedure) {
        writeln!(out, "### {number}. {}（{} 分钟）{}\n", step.title, step.minutes, marks(&step.citations))?;
        writeln!(out, "**教师**：{}\n\n**学生**：{}\n\n**设计意图**：{}\n", step.teacher, step.students, step.purpose)?;
    }
    heading(out, SectionName::Board)?;
    // The board is Markdown with headings of its own; quoted, they stay below the section's.
    for line in sections.board.lines() {
        writeln!(out, "> {line}")?;
    }
    heading(out, SectionName::Homework)?;
    let homework = &sections.homework;
    for (label, items) in [("基础", &homework.basic), ("提高", &homework.standard), ("挑战", &homework.challenge)]
    {
        if !items.is_empty() {
            writeln!(out, "### {label}\n")?;
            exercises(out, items)?;
        }
    }
    heading(out, SectionName::Assessment)?;
    for item in &sections.assessment {
        writeln!(out, "- {}{}", item.criterion, marks(&item.citations))?;
        for (label, level) in ["还需努力", "达到目标", "表现优秀"].iter().zip(&item.levels) {
            writeln!(out, "  - {label}：{level}")?;
        }
    }
    writeln!(out, "\n## 来源\n")?;
    let mut citations: Vec<_> = plan.citations.iter().collect();
    citations.sort_by_key(|(key, _)| key.trim_start_matches('c').parse::<u32>().unwrap_or(u32::MAX));
    for (key, citation) in citations {
        let quote = citation.quote.replace('\n', " ");
        writeln!(out, "- [{key}] {}（{}）：{quote}", citation.title, citation.reference)?;
    }
    Ok(())
}

fn heading(out: &mut String, section: SectionName) -> std::fmt::Result {
    writeln!(out, "\n## {}\n", section.label_zh())
}

fn exercises(out: &mut String, items: &[ExerciseItem]) -> std::fmt::Result {
    for (number, item) in (1..).zip(items) {
        let verified = if item.verified { "（答案已验算）" } else { "" };
        writeln!(out, "{number}. {}{}", item.prompt, marks(&item.citations))?;
        writeln!(out, "   - 答案{verified}：{}", item.answer.replace('\n', " "))?;
    }
    writeln!(out)
}

fn marks(keys: &[String]) -> String {
    keys.iter().map(|key| format!(" [{key}]")).collect()
}
