//! What a replica's status says that somebody should know: quarantine, alarms, evidence, a full log, state transfer.

use serde_json::Value;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It goes on by itself.
    Note,
    /// The replica does less than it should.
    Warning,
    /// The model's assumptions are broken, or nothing goes on here.
    Fault,
}

/// Sentences about one replica, the heaviest first; none if all is as it should be.
pub(crate) fn of(status: &Value) -> Vec<(Weight, String)> {
    let count = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut all = Vec::new();
    if status["halted"] == true || count("/alarms") > 0 {
        all.push((Weight::Fault, "raised an alarm and votes no more".to_owned()));
    }
    if status["log"]["stalled"] == true {
        all.push((Weight::Fault, "log is full to the last byte: takes no part".to_owned()));
    } else if status["log"]["full"] == true {
        all.push((Weight::Warning, "log is nearly full: refuses requests".to_owned()));
    }
    all.extend(quarantine(status).map(|text| (Weight::Warning, text)));
    if count("/evidence") > 0 {
        let proofs = count("/evidence");
        all.push((Weight::Warning, format!("holds {proofs} proof(s) of misbehaviour")));
    }
    if let Some(slot) = status["transfer_to"].as_u64() {
        all.push((Weight::Note, format!("fetches the state of checkpoint {slot}")));
    }
    all.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    all
}

/// Why it is in quarantine and what it waits for.
pub(crate) fn quarantine(status: &Value) -> Option<String> {
    let quarantine = status["quarantine"].as_object()?;
    let text = |key: &str| quarantine.get(key).and_then(Value::as_str).unwrap_or("unknown");
    let number = |key: &str| quarantine.get(key).and_then(Value::as_u64);
    let mut line = format!("in quarantine ({}), waits for {}", text("cause"), text("waits_for"));
    if let (Some(got), Some(needed)) = (number("answers"), number("answers_needed")) {
        line.push_str(&format!(", {got} of {needed} came"));
    }
    if let Some(view) = number("certificate_above_view") {
        line.push_str(&format!(", certificate above view {view}"));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_heaviest_comes_first_and_a_sound_replica_is_not_worth_a_word() {
        assert!(of(&json!({ "halted": false, "alarms": 0, "evidence": 0, "quarantine": null })).is_empty());
        let all = of(&json!({
            "halted": true, "evidence": 2, "transfer_to": 512,
            "quarantine": { "cause": "log missing", "waits_for": "answers", "answers": 1, "answers_needed": 3 },
        }));
        let weights: Vec<Weight> = all.iter().map(|(weight, _)| *weight).collect();
        assert_eq!(weights, [Weight::Fault, Weight::Warning, Weight::Warning, Weight::Note]);
        assert_eq!(all[1].1, "in quarantine (log missing), waits for answers, 1 of 3 came");
    }
}
