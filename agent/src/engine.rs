//! The rules that are in force, across reloads: an event is judged by the rules whose plan it was sent
//! for, and by no others.

use shrike_rules::Ruleset;

/// The rules in force, and those before as long as events for them may come.
pub(crate) struct Engine {
    present: Rules,
    former: Option<Rules>,
}

/// Rules, and the generation of their plan.
struct Rules {
    generation: u32,
    ruleset: Ruleset,
}

impl Engine {
    /// The first rules.
    pub(crate) fn new(generation: u32, ruleset: Ruleset) -> Self {
        Self { present: Rules { generation, ruleset }, former: None }
    }

    /// Puts other rules in force, for events from this generation on.
    pub(crate) fn replace(&mut self, generation: u32, ruleset: Ruleset) {
        let former = std::mem::replace(&mut self.present, Rules { generation, ruleset });
        self.former = Some(former);
    }

    /// The rules that are in force for new events.
    pub(crate) fn present(&self) -> &Ruleset {
        &self.present.ruleset
    }

    /// The rules that an event of this generation is for.
    pub(crate) fn rules(&self, generation: u32) -> &Ruleset {
        let is_older = self.present.generation.wrapping_sub(generation).cast_signed() > 0;
        match &self.former {
            Some(former) if is_older => &former.ruleset,
            _ => &self.present.ruleset,
        }
    }

    /// Forgets the former rules: all their events have been seen.
    pub(crate) fn settle(&mut self) {
        self.former = None;
    }
}

#[cfg(test)]
mod tests {
    use shrike_rules::Source;

    use super::*;

    fn rules(name: &str) -> Ruleset {
        let text = format!(
            "- rule: {name}\n  desc: d\n  output: o\n  priority: NOTICE\n  condition: evt.num > 0\n"
        );
        Ruleset::load(&[Source::new("r", &text)]).ruleset
    }

    #[test]
    fn an_event_is_judged_by_the_rules_that_it_was_sent_for() {
        let mut engine = Engine::new(u32::MAX, rules("A"));
        let name =
            |engine: &Engine, generation| engine.rules(generation).rules()[0].name().to_owned();
        assert_eq!(name(&engine, u32::MAX), "A");
        // Generations begin anew.
        engine.replace(0, rules("B"));
        assert_eq!((name(&engine, u32::MAX), name(&engine, 0)), ("A".to_owned(), "B".to_owned()));
        engine.settle();
        assert_eq!(name(&engine, u32::MAX), "B");
    }
}
