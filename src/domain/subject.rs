use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A school subject. The wire form is the lower-case English id (`math`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Math,
    Chinese,
    English,
    Physics,
    Chemistry,
    Biology,
    Ai,
}

impl Subject {
    pub const ALL: [Self; 7] =
        [Self::Math, Self::Chinese, Self::English, Self::Physics, Self::Chemistry, Self::Biology, Self::Ai];

    /// The id used on the wire and as the prefix of concept ids.
    pub fn id(self) -> &'static str {
        match self {
            Self::Math => "math",
            Self::Chinese => "chinese",
            Self::English => "english",
            Self::Physics => "physics",
            Self::Chemistry => "chemistry",
            Self::Biology => "biology",
            Self::Ai => "ai",
        }
    }

    /// The name that Chinese users see.
    pub fn label_zh(self) -> &'static str {
        match self {
            Self::Math => "数学",
            Self::Chinese => "语文",
            Self::English => "英语",
            Self::Physics => "物理",
            Self::Chemistry => "化学",
            Self::Biology => "生物学",
            Self::Ai => "人工智能",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The text is no subject id.
#[derive(Debug, thiserror::Error)]
#[error("unknown subject `{0}`: expected one of math, chinese, english, physics, chemistry, biology, ai")]
pub struct UnknownSubject(pub String);

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|subject| subject.id() == text).ok_or_else(|| UnknownSubject(text.to_owned()))
    }
}

/// A school year, 1 to 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schema(value_type = u8, minimum = 1, maximum = 12)]
pub struct Grade(u8);

/// The number is no grade.
#[derive(Debug, thiserror::Error)]
#[error("grade must be between 1 and 12, not {0}")]
pub struct InvalidGrade(pub i64);

impl Grade {
    pub fn new(number: i64) -> Result<Self, InvalidGrade> {
        match u8::try_from(number) {
            Ok(number @ 1..=12) => Ok(Self(number)),
            _ => Err(InvalidGrade(number)),
        }
    }

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn stage(self) -> Stage {
        match self.0 {
            1..=6 => Stage::Primary,
            7..=9 => Stage::JuniorSecondary,
            _ => Stage::SeniorSecondary,
        }
    }

    /// 七年级, 高一.
    pub fn label_zh(self) -> &'static str {
        const LABELS: [&str; 12] = [
            "一年级",
            "二年级",
            "三年级",
            "四年级",
            "五年级",
            "六年级",
            "七年级",
            "八年级",
            "九年级",
            "高一",
            "高二",
            "高三",
        ];
        LABELS[usize::from(self.0) - 1]
    }
}

impl TryFrom<u8> for Grade {
    type Error = InvalidGrade;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(i64::from(number))
    }
}

impl From<Grade> for u8 {
    fn from(grade: Grade) -> Self {
        grade.0
    }
}

/// The part of school that a grade belongs to (学段).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Primary,
    JuniorSecondary,
    SeniorSecondary,
}

/// The language that generated text is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Language {
    #[default]
    #[serde(rename = "zh-CN")]
    Chinese,
    #[serde(rename = "en")]
    English,
}
