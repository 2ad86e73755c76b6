//! Tampering, row by row, and what the walk says to it.

use proptest::prelude::*;

use super::*;

/// A sound journal of `count` records over three streams.
fn journal(count: i64) -> Vec<RawRecord> {
    let mut prev = Hash::GENESIS;
    let mut rows = Vec::new();
    for position in 1..=count {
        let stream = format!("run/run-{}", position % 3);
        let row = written(&prev, position, &stream, (position + 2) / 3, &format!("{{\"n\":{position}}}"));
        prev = parse_exact(&row.hash).unwrap();
        rows.push(row);
    }
    rows
}

fn written(prev: &Hash, position: i64, stream: &str, seq: i64, body: &str) -> RawRecord {
    let (at_ms, kind) = (1_795_219_200_000 + position, "Tested");
    let link = Link { prev, position, stream: stream.as_bytes(), seq, at_ms, kind: kind.as_bytes(), body: body.as_bytes() };
    RawRecord {
        position,
        stream: stream.into(),
        seq,
        at_ms,
        kind: kind.into(),
        body: body.into(),
        prev_hash: prev.to_string().into(),
        hash: link.hash().to_string().into(),
    }
}

fn hash(row: &RawRecord) -> Hash {
    parse_exact(&row.hash).unwrap()
}

fn walk(rows: &[RawRecord], expected_head: Option<Hash>) -> AuditReport {
    let mut walk = Walk::new(expected_head);
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.position);
    for row in rows {
        walk.step(row);
    }
    walk.finish()
}

/// The findings, short: what and where.
fn findings(rows: &[RawRecord]) -> Vec<String> {
    walk(rows, None).findings.iter().map(short).collect()
}

fn short(finding: &Finding) -> String {
    match finding {
        Finding::Altered(place) => format!("altered {}", place.position),
        Finding::Inserted(place) => format!("inserted {}", place.position),
        Finding::Reordered { place, written_at } => format!("{} was {written_at}", place.position),
        Finding::Missing { first, last } => format!("missing {first}-{last}"),
        Finding::Renumbered { first, last, by } => format!("renumbered {first}-{last} by {by}"),
        Finding::StreamGap { place, expected_seq } => format!("{} lacks {expected_seq}", place.stream),
        Finding::HeadNotFound { last_position, .. } => format!("cut after {last_position}"),
    }
}

fn renumber(rows: &mut [RawRecord], by: i64) {
    for row in rows {
        row.position += by;
    }
}

#[test]
fn a_sound_journal_has_no_findings_and_knows_its_heads() {
    let rows = journal(20);
    for head in [None, Some(Hash::GENESIS), Some(hash(&rows[0])), Some(hash(&rows[19]))] {
        let report = walk(&rows, head);
        assert!(report.is_intact(), "{report:?}");
        assert_eq!((report.records, report.streams), (20, 3));
        assert_eq!(report.head, Head { position: 20, hash: hash(&rows[19]) });
    }
    assert!(walk(&[], None).is_intact());
}

#[test]
fn a_removed_record_is_missing_and_its_stream_has_a_gap() {
    let mut rows = journal(20);
    rows.remove(6);
    assert_eq!(findings(&rows), ["missing 7-7", "run/run-1 lacks 3"]);
}

#[test]
fn removed_records_are_missed_though_the_rest_closed_up() {
    let mut rows = journal(20);
    rows.drain(6..9);
    renumber(&mut rows[6..], -3);
    assert_eq!(
        findings(&rows),
        ["missing 7-9", "renumbered 7-17 by -3", "run/run-1 lacks 3", "run/run-2 lacks 3", "run/run-0 lacks 3"]
    );
}

#[test]
fn a_removed_stream_is_missed() {
    let mut rows = journal(9);
    rows.retain(|row| row.stream != b"run/run-2");
    assert_eq!(findings(&rows), ["missing 2-2", "missing 5-5", "missing 8-8"]);
}

#[test]
fn an_inserted_record_is_found_whatever_its_hash() {
    let sound = journal(20);
    let well_hashed = written(&hash(&sound[5]), 7, "run/run-9", 1, "{}");
    let badly_hashed = RawRecord { body: b"[]".to_vec(), ..well_hashed.clone() };
    for forged in [well_hashed, badly_hashed] {
        let mut rows = sound.clone();
        renumber(&mut rows[6..], 1);
        rows.insert(6, forged);
        assert_eq!(findings(&rows), ["inserted 7", "renumbered 8-21 by 1"]);
    }
}

#[test]
fn a_copy_of_a_record_at_the_end_is_found() {
    let mut rows = journal(20);
    rows.push(RawRecord { position: 21, ..rows[2].clone() });
    assert_eq!(findings(&rows), ["altered 21"], "from far away, it cannot be told from an altered one");
    rows[20] = RawRecord { position: 21, ..rows[17].clone() };
    assert_eq!(findings(&rows), ["inserted 21"]);
}

#[test]
fn reordered_records_say_where_they_were() {
    for (one, other) in [(3, 4), (3, 10), (3, 90)] {
        let mut rows = journal(100);
        rows[one - 1].position = other as i64;
        rows[other - 1].position = one as i64;
        assert_eq!(findings(&rows), [format!("{one} was {other}"), format!("{other} was {one}")]);
    }
}

#[test]
fn a_record_moved_far_away_says_where_it_was() {
    let mut rows = journal(100);
    renumber(&mut rows[10..90], -1);
    rows[9].position = 90;
    assert_eq!(findings(&rows), ["renumbered 10-89 by -1", "90 was 10"]);
}

#[test]
fn the_last_record_moved_to_the_front_says_where_it_was() {
    let mut rows = journal(100);
    renumber(&mut rows[..99], 1);
    rows[99].position = 1;
    assert_eq!(findings(&rows), ["1 was 100", "renumbered 2-100 by 1"]);
}

#[test]
fn a_record_rewritten_together_with_its_hash_is_altered() {
    let mut rows = journal(20);
    rows[6] = written(&hash(&rows[5]), 7, "run/run-1", 3, r#"{"n":700}"#);
    assert_eq!(findings(&rows), ["altered 7"]);
    let mut rows = journal(20);
    rows[0] = written(&Hash::of(b"another"), 1, "run/run-1", 1, r#"{"n":1}"#);
    assert_eq!(findings(&rows), ["altered 1"]);
}

#[test]
fn a_cut_tail_is_found_by_the_head_alone() {
    let rows = journal(20);
    let head = hash(&rows[19]);
    assert!(walk(&rows[..15], None).is_intact());
    let report = walk(&rows[..15], Some(head));
    assert_eq!(report.findings, [Finding::HeadNotFound { expected: head, last_position: 15 }]);
}

#[test]
fn a_removed_and_an_altered_neighbour_are_both_found() {
    let mut rows = journal(20);
    rows[7].body = b"{}".to_vec();
    rows.remove(6);
    assert_eq!(findings(&rows), ["missing 7-7", "altered 8"]);
}

#[test]
fn a_report_stays_short_when_everything_is_wrong() {
    let mut rows = journal(1_010);
    for row in &mut rows {
        row.body = b"{}".to_vec();
    }
    let report = walk(&rows, Some(Hash::of(b"head")));
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    assert!(report.is_cut_short);
    assert_eq!(short(&report.findings[FINDINGS_MAX - 1]), "cut after 1010");
}

#[test]
fn findings_read_as_sentences_and_cannot_steer_a_terminal() {
    let mut rows = journal(3);
    rows[1].stream = b"run/\x1b[2Jx".to_vec();
    let sentences: Vec<String> = walk(&rows, None).findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            r"the record at position 2 (run/\u{1b}[2Jx, event 1, 2026-11-21 00:00:00.002 UTC) is not what was written: it was altered"
        ]
    );
}

fn columns(row: &mut RawRecord) -> [&mut Vec<u8>; 5] {
    [&mut row.stream, &mut row.kind, &mut row.body, &mut row.prev_hash, &mut row.hash]
}

proptest! {
    // Each case hashes some thousand times, without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever bit of whatever column flips, the record is named, and it alone.
    #[test]
    fn any_flipped_bit_is_found_where_it_is(index in 0_usize..20, column in 0_usize..5, byte in 0_usize..200, bit in 0_u32..8) {
        let mut rows = journal(20);
        let text = &mut *columns(&mut rows[index])[column];
        let byte = byte % text.len();
        text[byte] ^= 1_u8 << bit;
        prop_assert_eq!(findings(&rows), [format!("altered {}", index + 1)]);
    }

    #[test]
    fn any_flipped_bit_of_a_number_is_found_where_it_is(index in 0_usize..20, is_seq: bool, bit in 0_u32..63) {
        let mut rows = journal(20);
        let number = if is_seq { &mut rows[index].seq } else { &mut rows[index].at_ms };
        *number ^= 1_i64 << bit;
        prop_assert_eq!(findings(&rows), [format!("altered {}", index + 1)]);
    }

    /// However rows are shuffled, none is called altered or missing, and the journal is not called intact.
    #[test]
    fn a_shuffle_is_a_shuffle(order in Just((1_i64..=60).collect::<Vec<_>>()).prop_shuffle()) {
        let mut rows = journal(60);
        for (row, position) in rows.iter_mut().zip(&order) {
            row.position = *position;
        }
        let is_shuffled = !order.is_sorted();
        let report = walk(&rows, None);
        prop_assert_eq!(!report.is_intact(), is_shuffled);
        let is_order = |finding: &Finding| matches!(finding, Finding::Reordered { .. } | Finding::Renumbered { .. });
        prop_assert!(report.findings.iter().all(is_order), "{:?}", report.findings);
    }
}
