//! The corpus in the repository is what the generator makes, and it reaches what it is for.

use trireme_fuzz::{TARGETS, smoke};

#[test]
fn samples_are_accepted() {
    for target in TARGETS {
        for (name, bytes) in (target.samples)() {
            // The cluster's samples are scripts: not each of them gets to a commit.
            let accepted = (target.run)(&bytes);
            assert!(
                accepted || target.name == "cluster",
                "{}/{name} is refused",
                target.name
            );
        }
    }
}

#[test]
fn the_corpus_is_what_is_generated() {
    let mut bytes_in_all = 0;
    for target in TARGETS {
        let corpus = smoke::read_corpus(&smoke::corpus_directory(), target).unwrap();
        bytes_in_all += corpus.values().map(Vec::len).sum::<usize>();
        for (name, bytes) in (target.samples)() {
            let kept = corpus.get(&name);
            assert_eq!(kept, Some(&bytes), "{}/{name}: run `trireme-fuzz corpus`", target.name);
        }
    }
    assert!(bytes_in_all < 1 << 20, "the corpus has {bytes_in_all} bytes");
}

#[test]
fn every_file_of_the_corpus_runs() {
    for target in TARGETS {
        let corpus = smoke::read_corpus(&smoke::corpus_directory(), target).unwrap();
        smoke::run(target, &corpus, 100).unwrap();
    }
}
