//! The walk along the chain: from raw rows, in order, to findings.
//!
//! Because the hash covers the position, and the row carries the hash before it, each row can prove at which position
//! it was written, wherever it stands now. So the walk asks of each row "where were you written?" and compares the
//! answers with 1, 2, 3, ...: what nobody answers is missing, what is answered twice was inserted, and a row that
//! cannot prove any position was altered.

use std::collections::{HashMap, HashSet};

use chrono::DateTime;

use crate::domain::Hash;
use crate::store::chain::Link;
use crate::store::journal::{Head, RawRecord};

use super::{AuditReport, FINDINGS_MAX, Finding, Place};

/// How far around its present position a row's former one is searched at once. Rows that were moved further are compared
/// with the gaps at the end.
const SEARCH_RADIUS: i64 = 16;

/// The most gap positions that moved rows are compared with at the end.
const CANDIDATES_MAX: usize = 2_000;

/// The most bytes of rows without a proven position that are kept for that comparison.
const SUSPECT_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) struct Walk {
    expected_head: Option<Hash>,
    is_head_found: bool,
    records: u64,
    head: Head,
    last_position: i64,
    /// The written position that the journal should show next.
    next: i64,
    /// The highest written position that a row proved.
    highest: i64,
    /// Ranges of written positions, both ends included, that were passed over so far.
    gaps: Vec<(i64, i64)>,
    /// How far behind its stand the last placed row was written; 0 in a sound journal.
    shift: i64,
    /// The last row that proved its position; at first what stands before the first record.
    last: Proven,
    /// A row that proved the same position as `last`; the next row's link tells which is the true one.
    rival: Option<Proven>,
    run: Option<Run>,
    suspects: Vec<Suspect>,
    suspect_bytes: usize,
    streams: HashMap<Vec<u8>, i64>,
    stream_gaps: Vec<Finding>,
    findings: Vec<Finding>,
    is_cut_short: bool,
}

/// A row whose hash fits a position.
struct Proven {
    written_at: i64,
    hash: Hash,
    /// `None`: the start of the chain.
    place: Option<Place>,
}

/// Neighbouring rows that all stand equally far from where they were written.
struct Run {
    first: Place,
    last: i64,
    shift: i64,
}

/// A row whose hash fits no position near it.
struct Suspect {
    row: RawRecord,
    place: Place,
    /// The written position that it takes up, if no other row proves to be that one.
    slot: Option<i64>,
}

impl Walk {
    pub(super) fn new(expected_head: Option<Hash>) -> Self {
        Self {
            expected_head,
            is_head_found: expected_head.is_none_or(|head| head == Hash::GENESIS),
            records: 0,
            head: Head { position: 0, hash: Hash::GENESIS },
            last_position: 0,
            next: 1,
            highest: 0,
            gaps: Vec::new(),
            shift: 0,
            last: Proven { written_at: 0, hash: Hash::GENESIS, place: None },
            rival: None,
            run: None,
            suspects: Vec::new(),
            suspect_bytes: 0,
            streams: HashMap::new(),
            stream_gaps: Vec::new(),
            findings: Vec::new(),
            is_cut_short: false,
        }
    }

    /// Takes the next row in the order of positions.
    pub(super) fn step(&mut self, row: RawRecord) {
        self.records += 1;
        self.last_position = row.position;
        let (prev, hash) = (parse_exact(&row.prev_hash), parse_exact(&row.hash));
        self.is_head_found |= hash.is_some() && hash == self.expected_head;
        self.head = Head { position: u64::try_from(row.position).unwrap_or_default(), hash: hash.unwrap_or(Hash::GENESIS) };
        let written_at = match (prev, hash) {
            (Some(prev), Some(hash)) => self.search(&row, &prev, &hash).map(|position| (position, prev, hash)),
            _ => None,
        };
        self.follow_stream(&row, written_at.is_some());
        match written_at {
            Some((position, prev, hash)) => self.place(place(&row), position, prev, hash),
            None => self.suspect(row),
        }
    }

    /// The position at which `row` was written, if it is not far.
    fn search(&self, row: &RawRecord, prev: &Hash, hash: &Hash) -> Option<i64> {
        let near = (1..=SEARCH_RADIUS).flat_map(|distance| [distance, -distance]);
        [0, self.shift]
            .into_iter()
            .chain(near)
            .map(|distance| row.position.saturating_add(distance))
            .find(|&position| is_written_at(row, position, prev, hash))
    }

    /// Notes that the row at `place` proved to be written at `position`.
    fn place(&mut self, place: Place, position: i64, prev: Hash, hash: Hash) {
        self.check_link(&place, position, prev);
        self.highest = self.highest.max(position);
        if position >= self.next {
            self.skip_to(position);
        } else if let Some(suspect) = self.suspects.iter_mut().find(|suspect| suspect.slot == Some(position)) {
            // The suspect does not stand in for this record: the record itself is here.
            suspect.slot = None;
        } else if !take(&mut self.gaps, position) {
            if self.last.written_at != position {
                self.report(Finding::Inserted(place));
                return;
            }
            let last = Proven { written_at: position, hash, place: Some(place.clone()) };
            self.rival = Some(std::mem::replace(&mut self.last, last));
        }
        self.extend_run(&place, position - place.position);
        if self.last.written_at != position {
            self.last = Proven { written_at: position, hash, place: Some(place) };
        }
    }

    /// Compares the hash that this record follows with that of the record before it.
    fn check_link(&mut self, place: &Place, position: i64, prev: Hash) {
        let rival = self.rival.take();
        if self.last.written_at != position - 1 {
            if let Some(rival) = rival {
                // It cannot be told which; that there is one too many can.
                self.report_as(rival, Finding::Inserted);
            }
            return;
        }
        let is_last_followed = prev == self.last.hash;
        match rival {
            Some(rival) if is_last_followed => self.report_as(rival, Finding::Inserted),
            Some(rival) if prev == rival.hash => {
                let inserted = std::mem::replace(&mut self.last, rival);
                self.report_as(inserted, Finding::Inserted);
            }
            _ if is_last_followed => {}
            // It fits its own hash but not the one that follows it: both were written anew.
            _ => match self.last.place.take() {
                Some(last) => self.report(Finding::Altered(last)),
                None => self.report(Finding::Altered(place.clone())),
            },
        }
    }

    fn report_as(&mut self, proven: Proven, finding: fn(Place) -> Finding) {
        if let Some(place) = proven.place {
            self.report(finding(place));
        }
    }

    /// Keeps a row that proves no position, as standing in for the one that should come here.
    fn suspect(&mut self, row: RawRecord) {
        let slot = row.position.saturating_add(self.shift).max(self.next);
        self.skip_to(slot);
        let place = place(&row);
        self.suspect_bytes = self.suspect_bytes.saturating_add(row.body.len());
        if self.suspects.len() >= FINDINGS_MAX || self.suspect_bytes > SUSPECT_BYTES_MAX {
            self.report(Finding::Altered(place));
        } else {
            self.suspects.push(Suspect { row, place, slot: Some(slot) });
        }
    }

    /// Counts `position` as shown, and what was passed over as a gap.
    fn skip_to(&mut self, position: i64) {
        if position > self.next {
            self.gaps.push((self.next, position - 1));
        }
        self.next = position.saturating_add(1);
    }

    fn extend_run(&mut self, place: &Place, shift: i64) {
        self.shift = shift;
        if let Some(run) = &mut self.run
            && run.shift == shift
            && run.last + 1 == place.position
        {
            run.last = place.position;
            return;
        }
        self.end_run();
        if shift != 0 {
            self.run = Some(Run { first: place.clone(), last: place.position, shift });
        }
    }

    fn end_run(&mut self) {
        let Some(Run { first, last, shift }) = self.run.take() else {
            return;
        };
        self.report(if first.position == last {
            Finding::Reordered { written_at: last + shift, place: first }
        } else {
            Finding::Renumbered { first: first.position, last, by: -shift }
        });
    }

    fn follow_stream(&mut self, row: &RawRecord, is_proven: bool) {
        let last = self.streams.entry(row.stream.clone()).or_default();
        let expected_seq = last.saturating_add(1);
        if row.seq == expected_seq {
            *last = expected_seq;
        } else if is_proven {
            *last = row.seq;
            if self.stream_gaps.len() < FINDINGS_MAX {
                self.stream_gaps.push(Finding::StreamGap { place: place(row), expected_seq });
            }
        }
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.last() == Some(&finding) {
            // Two signs of the same thing: a forged first record fits neither what is before nor what is after it.
        } else if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.is_cut_short = true;
        }
    }

    /// The report, once all rows were seen.
    pub(super) fn finish(mut self) -> AuditReport {
        self.end_run();
        if self.rival.take().is_some() {
            // Nothing follows that could tell which of the two is the true one; the later one made it two.
            let later = std::mem::replace(&mut self.last, Proven { written_at: 0, hash: Hash::GENESIS, place: None });
            self.report_as(later, Finding::Inserted);
        }
        self.judge_suspects();
        for (first, last) in std::mem::take(&mut self.gaps) {
            self.report(Finding::Missing { first, last });
        }
        // A gap in a stream says whose events are missing. After other tampering it would only be an echo of that.
        let is_removal_alone = |finding: &Finding| matches!(finding, Finding::Missing { .. } | Finding::Renumbered { .. });
        if self.findings.iter().all(is_removal_alone) {
            for finding in std::mem::take(&mut self.stream_gaps) {
                self.report(finding);
            }
        }
        if let (false, Some(expected)) = (self.is_head_found, self.expected_head) {
            // Always told, however much else there is.
            self.findings.truncate(FINDINGS_MAX - 1);
            self.findings.push(Finding::HeadNotFound { expected, last_position: self.last_position });
        }
        let is_consequence = |finding: &Finding| !matches!(finding, Finding::Missing { .. });
        self.findings.sort_by_key(|finding| (finding.position(), is_consequence(finding)));
        AuditReport {
            records: self.records,
            streams: self.streams.len() as u64,
            head: self.head,
            findings: self.findings,
            is_cut_short: self.is_cut_short,
        }
    }

    /// Says of each suspect whether it was moved here from far away, inserted, or altered.
    fn judge_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        // The last records may have been moved forward: their positions lie beyond all that was seen.
        self.gaps.push((self.next, self.next.saturating_add(suspects.len() as i64)));
        let slots = suspects.iter().filter_map(|suspect| suspect.slot);
        let gaps = self.gaps.iter().flat_map(|&(first, last)| first..=last);
        let candidates: Vec<i64> = slots.chain(gaps.take(CANDIDATES_MAX)).collect();
        let mut origins = HashSet::new();
        let mut vacated = Vec::new();
        for Suspect { row, place, slot } in suspects {
            match origin(&row, &candidates).filter(|&position| origins.insert(position)) {
                Some(written_at) => {
                    take(&mut self.gaps, written_at);
                    self.highest = self.highest.max(written_at);
                    vacated.extend(slot);
                    self.report(Finding::Reordered { place, written_at });
                }
                None => {
                    self.highest = self.highest.max(slot.unwrap_or_default());
                    self.report(if slot.is_some() { Finding::Altered(place) } else { Finding::Inserted(place) });
                }
            }
        }
        // What a moved row stood in for is somewhere else, or nowhere.
        let gone = vacated.into_iter().filter(|slot| !origins.contains(slot));
        self.gaps.extend(gone.map(|slot| (slot, slot)));
        // Beyond the highest that is proven there may never have been a record.
        self.gaps.retain(|(first, _)| *first <= self.highest);
        for (_, last) in &mut self.gaps {
            *last = self.highest.min(*last);
        }
    }
}

fn origin(row: &RawRecord, candidates: &[i64]) -> Option<i64> {
    let (prev, hash) = (parse_exact(&row.prev_hash)?, parse_exact(&row.hash)?);
    candidates.iter().copied().find(|&position| is_written_at(row, position, &prev, &hash))
}

fn is_written_at(row: &RawRecord, position: i64, prev: &Hash, hash: &Hash) -> bool {
    let link = Link { prev, position, stream: &row.stream, seq: row.seq, at_ms: row.at_ms, kind: &row.kind, body: &row.body };
    link.hash() == *hash
}

/// Takes `position` out of the ranges; `false` if it is in none.
fn take(gaps: &mut Vec<(i64, i64)>, position: i64) -> bool {
    let Some(index) = gaps.iter().position(|&(first, last)| (first..=last).contains(&position)) else {
        return false;
    };
    let (first, last) = gaps.remove(index);
    if position < last {
        gaps.insert(index, (position + 1, last));
    }
    if first < position {
        gaps.insert(index, (first, position - 1));
    }
    true
}

/// A hash in the one spelling in which we write it: another one was not written by us.
fn parse_exact(text: &[u8]) -> Option<Hash> {
    let hash: Hash = std::str::from_utf8(text).ok()?.parse().ok()?;
    (hash.to_string().as_bytes() == text).then_some(hash)
}

fn place(row: &RawRecord) -> Place {
    Place {
        position: row.position,
        stream: String::from_utf8_lossy(&row.stream).into_owned(),
        seq: row.seq,
        at: DateTime::from_timestamp_millis(row.at_ms),
    }
}

#[cfg(test)]
mod tests;
