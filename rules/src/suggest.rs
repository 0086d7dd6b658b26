//! "Did you mean": the known name nearest to a misspelt one.

/// The candidate that `name` is probably a misspelling of.
///
/// Ties go to the candidate with the longest beginning in common, as ends are what is left out; then to
/// the one that comes first, so the answer does not change from run to run.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Names are short; whatever is longer is no misspelling of one and not worth the time.
    if name.len() > 64 {
        return None;
    }
    let name = &name.to_ascii_lowercase();
    // A third of the last component may be wrong: `proc.tty` is no misspelling of `proc.exe`.
    let last = name.rsplit('.').next().unwrap_or(name);
    let limit = last.len().max(3) / 3;
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| {
            let folded = candidate.to_ascii_lowercase();
            (distance(name.as_bytes(), folded.as_bytes()), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| {
            let same = name.bytes().zip(candidate.bytes()).take_while(|(a, b)| a == b).count();
            (*distance, std::cmp::Reverse(same))
        })
        .map(|(_, candidate)| candidate)
}

/// A hint with the nearest candidate.
pub(crate) fn hint<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean {candidate}?"))
}

/// Levenshtein's distance, with a swap of neighbours as one step.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_their_name() {
        let fields = ["fd.name", "fd.type", "proc.name", "proc.aname"];
        assert_eq!(nearest("fd.nam", fields), Some("fd.name"));
        assert_eq!(nearest("proc.nmae", fields), Some("proc.name"));
        assert_eq!(nearest("k8s.pod.uid", fields), None);
        assert_eq!(nearest("fd.tty", fields), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), fields), None);
    }

    #[test]
    fn a_swap_is_one_step() {
        assert_eq!(distance(b"opne", b"open"), 1);
        assert_eq!(distance(b"", b"abc"), 3);
    }
}
