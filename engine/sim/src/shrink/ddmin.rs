//! Delta debugging: a list that shows a failure, made as short as tries of parts of it can tell.

/// A part of `all` (in order) for which `fails` said yes last, or `all`; no single element of it can be left out.
/// `fails` is asked about shorter lists only; once it says no to everything (out of time), the search ends.
pub(super) fn smallest<T: Clone>(all: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = all;
    if kept.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut chunk = kept.len().div_ceil(2);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < kept.len() && kept.len() > 1 {
            let rest: Vec<T> = [&kept[..at], &kept[(at + chunk).min(kept.len())..]].concat();
            if !rest.is_empty() && fails(&rest) {
                kept = rest;
                shorter = true;
            } else {
                at += chunk;
            }
        }
        match (chunk, shorter) {
            (1, false) => return kept,
            (1, true) => {}
            _ => chunk = chunk.div_ceil(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_stays() {
        let all: Vec<u32> = (0..20).collect();
        let both = |part: &[u32]| part.contains(&3) && part.contains(&17);
        assert_eq!(smallest(all.clone(), both), [3, 17]);
        assert_eq!(smallest(all.clone(), |part| part.contains(&9)), [9]);
        assert!(smallest(all.clone(), |_| true).is_empty());
        assert_eq!(smallest(all.clone(), |_| false), all);
        let mut asked = 0;
        let many = smallest(all, |part| {
            asked += 1;
            part.iter().filter(|n| **n % 2 == 0).count() == 10
        });
        assert_eq!(many.len(), 10);
        assert!(asked < 200, "{asked} tries");
    }
}
