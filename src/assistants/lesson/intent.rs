//! What a chat message beside a plan wants: an answer, or a change, and of what.
//!
//! Rules first: teachers name the part they mean (导入, 板书, 作业). Only a wish that names no part is put to the model.

use crate::domain::SectionName;

/// What a message wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Question,
    /// Change this section; of the procedure, only the phase with this id when one is meant.
    Change {
        section: SectionName,
        phase: Option<&'static str>,
    },
    /// A new length of the whole lesson.
    Length(u16),
    /// A wish whose section is not named.
    ChangeSomething,
}

const IMPERATIVES: [&str; 22] = [
    "改",
    "换",
    "调整",
    "增加",
    "加上",
    "加一",
    "加两",
    "再加",
    "减少",
    "删",
    "去掉",
    "缩短",
    "延长",
    "简化",
    "重写",
    "优化",
    "补充",
    "变成",
    "不要",
    "写得",
    "再来",
    "多布置",
];
const QUESTION_WORDS: [&str; 12] =
    ["什么", "为什么", "怎么", "怎样", "如何", "哪", "是否", "吗", "呢", "多少", "几个", "？"];
/// An imperative with its object; it makes a question-shaped wish (能不能把…改成…？) a wish.
const OBJECT_MARKS: [&str; 4] = ["把", "将", "帮我", "请"];

const SECTIONS: [(&[&str], SectionName); 9] = [
    (&["目标"], SectionName::Objectives),
    (&["课标", "课程标准"], SectionName::Standards),
    (&["学情", "先备", "前置", "旧知"], SectionName::Prerequisites),
    (&["重点", "要点"], SectionName::KeyPoints),
    (&["难点"], SectionName::Difficulties),
    (&["易错点", "错误", "误区"], SectionName::Misconceptions),
    (&["板书"], SectionName::Board),
    (&["作业", "课后", "习题"], SectionName::Homework),
    (&["评价", "量规", "评分标准"], SectionName::Assessment),
];

const PHASES: [(&[&str], &str); 6] = [
    (&["导入", "引入", "开头", "复习"], "review"),
    (&["探究", "新知", "新授"], "explore"),
    (&["例题", "讲解", "精讲"], "examples"),
    (&["辨析", "找错"], "misconceptions"),
    (&["练习", "巩固"], "practice"),
    (&["小结", "总结", "收尾"], "summary"),
];

const PROCEDURE: [&str; 6] = ["教学过程", "过程", "环节", "活动", "流程", "步骤"];

/// Reads a message by its words.
pub(super) fn read(text: &str) -> Intent {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let commanded = has(&IMPERATIVES);
    if !commanded || (has(&QUESTION_WORDS) && !has(&OBJECT_MARKS)) {
        return Intent::Question;
    }
    if let (true, Some(minutes)) = (has(&["课时", "整节课", "总时间", "全课"]), minutes(text)) {
        return Intent::Length(minutes);
    }
    // The part named first is the one meant: 把导入改成和作业有关的情境 is about 导入.
    let position = |words: &[&str]| words.iter().filter_map(|word| text.find(word)).min();
    let section = SECTIONS
        .iter()
        .filter_map(|(words, section)| Some((position(words)?, Intent::Change { section: *section, phase: None })));
    let phase = PHASES.iter().filter_map(|(words, phase)| {
        Some((position(words)?, Intent::Change { section: SectionName::Procedure, phase: Some(phase) }))
    });
    let named = section.chain(phase).min_by_key(|(position, _)| *position).map(|(_, intent)| intent);
    let procedure = || Intent::Change { section: SectionName::Procedure, phase: None };
    named.or_else(|| has(&PROCEDURE).then(procedure)).unwrap_or(Intent::ChangeSomething)
}

/// The number before 分钟.
pub(super) fn minutes(text: &str) -> Option<u16> {
    let before = text.split("分钟").next().filter(|before| before.len() < text.len())?;
    let digits: String = before.trim_end().chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Intent) {
        assert_eq!(read(text), expected, "{text}");
    }

    fn phase(phase: &'static str) -> Intent {
        Intent::Change { section: SectionName::Procedure, phase: Some(phase) }
    }

    fn section(section: SectionName) -> Intent {
        Intent::Change { section, phase: None }
    }

    #[test]
    fn wishes_name_the_part_they_mean() {
        check("把导入改成生活情境", phase("review"));
        check("能不能把导入改成生活情境？", phase("review"));
        check("导入缩短到3分钟", phase("review"));
        check("当堂练习增加一些互动", phase("practice"));
        check("请把板书写得简单些", section(SectionName::Board));
        check("作业再加两道基础题", section(SectionName::Homework));
        check("换一批作业", section(SectionName::Homework));
        check("把教学目标改得更具体", section(SectionName::Objectives));
        check("教学过程重写一遍", section(SectionName::Procedure));
        check("把导入改成和作业有关的情境", phase("review"));
        check("整节课改成40分钟", Intent::Length(40));
        check("写得更有趣一些", Intent::ChangeSomething);
    }

    #[test]
    fn questions_change_nothing() {
        check("为什么移项要变号？", Intent::Question);
        check("学生分不清方程和等式怎么办", Intent::Question);
        check("这节课的重点是什么", Intent::Question);
        check("导入为什么改成这样？", Intent::Question);
        check("如何调整难度？", Intent::Question);
    }

    #[test]
    fn minutes_are_the_number_before_the_unit() {
        assert_eq!(minutes("缩短到 5 分钟"), Some(5));
        assert_eq!(minutes("短一点"), None);
        assert_eq!(minutes("五分钟"), None);
    }
}
