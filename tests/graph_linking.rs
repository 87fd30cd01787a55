//! Linking on the shipped content, measured on mentions as teachers and pupils write them.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use zhujiao::graph::{Content, DEFAULT_BASE, KnowledgeGraph, LinkContext, Linker};

/// Text and the local name of the concept that must come first; empty when nothing may be linked.
const MENTIONS: [(&str, &str); 84] = [
    ("一元一次方程", "linear-equation-one-unknown"),
    ("帮我备一节七年级一元一次方程的课，45 分钟", "linear-equation-one-unknown"),
    ("什么是方程？", "equation"),
    ("移项", "solving-linear-equation"),
    ("解一元一次方程", "solving-linear-equation"),
    ("去分母解方程", "linear-equation-brackets-denominators"),
    ("一元一次方程的应用题", "linear-equation-applications"),
    ("等式的基本性质", "properties-of-equality"),
    ("等式性质", "properties-of-equality"),
    ("正数和负数", "positive-negative-numbers"),
    ("有理数", "rational-number"),
    ("数轴怎么画", "number-line"),
    ("相反数", "opposite-number"),
    ("绝对值的几何意义", "absolute-value"),
    ("有理数加法", "rational-addition"),
    ("有理数的减法法则", "rational-subtraction"),
    ("有理数乘法", "rational-multiplication"),
    ("倒数", "reciprocal"),
    ("有理数除法", "rational-division"),
    ("有理数的乘方", "rational-power"),
    ("有理数混合运算", "rational-mixed-operations"),
    ("科学计数法", "scientific-notation"),
    ("近似数", "approximate-number"),
    ("用字母表示数", "letters-for-numbers"),
    ("求代数式的值", "value-of-expression"),
    ("单项式的系数和次数", "monomial"),
    ("多项式", "polynomial"),
    ("同类项", "like-terms"),
    ("合并同类项", "combining-like-terms"),
    ("去括号", "removing-brackets"),
    ("整式加减", "polynomial-addition-subtraction"),
    ("同底数幂相乘", "power-multiplication"),
    ("幂的乘方", "power-of-power"),
    ("积的乘方", "power-of-product"),
    ("负整数指数幂", "zero-negative-exponents"),
    ("平方差公式", "difference-of-squares"),
    ("完全平方公式", "perfect-square"),
    ("因式分解", "factorization"),
    ("提公因式法", "common-factor-method"),
    ("公式法分解因式", "factoring-by-formulas"),
    ("分式有意义的条件", "algebraic-fraction"),
    ("分式方程增根", "fractional-equation"),
    ("解分式方程要检验", "fractional-equation"),
    ("二次根式", "quadratic-radical"),
    ("最简二次根式", "simplest-quadratic-radical"),
    ("函数的图象", "function-graph"),
    ("函数图像", "function-graph"),
    ("正比例函数", "proportional-function"),
    ("一次函数", "linear-function"),
    ("一次函数的图象和性质", "linear-function-graph"),
    ("待定系数法", "undetermined-coefficients"),
    ("一元二次方程", "quadratic-equation"),
    ("配方法解一元二次方程", "completing-the-square"),
    ("求根公式", "quadratic-formula"),
    ("根的判别式", "discriminant"),
    ("韦达定理", "roots-and-coefficients"),
    ("二次函数顶点式", "vertex-form"),
    ("抛物线", "quadratic-function-graph"),
    ("反比例函数", "inverse-proportion-function"),
    ("双曲线", "inverse-proportion-graph"),
    ("linear equation in one unknown", "linear-equation-one-unknown"),
    ("how to teach quadratic functions", "quadratic-function"),
    ("Absolute Value", "absolute-value"),
    ("scientific notation", "scientific-notation"),
    ("factorization", "factorization"),
    ("一元一次方城", "linear-equation-one-unknown"),
    ("完全平方式公式", "perfect-square"),
    ("红烧肉怎么做", ""),
    ("光合作用", ""),
    ("方程式赛车", ""),
    ("其实数学很好玩", ""),
    ("三角函数", ""),
    ("勾股定理", ""),
    ("牛顿第二定律", ""),
    ("《背影》教案", ""),
    ("今天天气怎么样", ""),
    ("平方米是什么单位", ""),
    ("photosynthesis", ""),
    ("square dance", ""),
    ("现在完成时", ""),
    ("你好", ""),
    ("我不想上学了", ""),
    ("化学方程式配平", ""),
    ("全等三角形的判定", ""),
];

#[test]
fn mentions_are_linked_to_the_right_concept() {
    let graph = KnowledgeGraph::load(Content::Embedded, DEFAULT_BASE).expect("the shipped content loads");
    let linker = Linker::new(&graph);
    let mut wrong = Vec::new();
    for (text, expected) in MENTIONS {
        let linked = linker.link(text, LinkContext::default());
        let first = linked.first().map_or("", |concept| concept.id.trim_start_matches("math:"));
        if first != expected {
            let shown: Vec<String> = linked.iter().take(3).map(|c| format!("{} {}", c.id, c.score)).collect();
            wrong.push(format!("{text}: expected `{expected}`, linked {shown:?}"));
        }
        assert!(linked.is_empty() || !expected.is_empty(), "{text} must not be linked: {wrong:?}");
    }
    let accuracy = 1.0 - wrong.len() as f64 / MENTIONS.len() as f64;
    println!("{} mentions, accuracy {accuracy:.3}\n{}", MENTIONS.len(), wrong.join("\n"));
    assert!(accuracy >= 0.95, "accuracy {accuracy:.3}\n{}", wrong.join("\n"));
}
