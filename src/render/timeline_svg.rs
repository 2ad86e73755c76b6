//! The time table of a run as a picture: planned against actual, with the forecast, as SVG.
//!
//! A pure function of the state, made of plain shapes and texts, so that it looks the same on a page and rasterised.
//! Colours stand as attributes (for a picture on its own) beside classes (for a page, whose style sheet overrides
//! them). Instants are shown in UTC; an empty text beside each carries the instant in `data-local`, for a page that
//! knows its viewer's zone.

use std::fmt::Write as _;

use chrono::TimeDelta;
use maud::Escaper;

use crate::domain::run::{Gate, GateRef, PhaseForecast, RollbackStage, Standing, State, StepStatus, forecast};
use crate::domain::runbook::Step;
use crate::domain::{Duration, Timestamp};

/// The picture's width in pixels of its own coordinates.
const WIDTH: f64 = 1_200.0;
/// Where the time axis begins and ends.
const AXIS: (f64, f64) = (270.0, 1_176.0);
/// The height of the axis at the top.
const TOP: f64 = 64.0;
/// The height of a row.
const ROW: f64 = 52.0;
/// The height of the legend at the bottom.
const LEGEND: f64 = 40.0;
/// How far apart two markers must stand to have their names below them.
const MARKERS_APART: f64 = 70.0;
/// The longest label of a row, in characters: what fits beside the axis.
const LABEL_CHARS_MAX: usize = 30;
/// The most marks on the axis.
const TICKS_MAX: i64 = 9;
/// The distances between two marks that read well, in minutes.
const TICK_MINUTES: [i64; 12] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440];
/// Fonts that are everywhere, first those that read well on a screen.
const FONTS: &str = "Inter, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif";

/// What a picture on its own is coloured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// Dark on white.
    Light,
    /// Light on nearly black.
    Dark,
}

/// A colour by what it means: the class on a page, and the value in either palette.
struct Paint(&'static str, &'static str, &'static str);

const PAPER: Paint = Paint("paper", "#ffffff", "#14181f");
const INK: Paint = Paint("ink", "#1d2430", "#e8ecf2");
const FAINT: Paint = Paint("faint", "#5b6676", "#9aa5b5");
const GRID: Paint = Paint("grid", "#e1e5eb", "#2a313c");
const PLAN: Paint = Paint("plan", "#b9c1cd", "#4a5464");
const GOOD: Paint = Paint("good", "#1f8a4c", "#3fb970");
const WORK: Paint = Paint("work", "#2563c9", "#5b97f5");
const BAD: Paint = Paint("bad", "#c9302c", "#f0625e");
const WAIT: Paint = Paint("wait", "#b7791f", "#e3a93c");

struct Canvas {
    palette: Palette,
    from: Timestamp,
    to: Timestamp,
    text: String,
}

/// One line of the picture.
struct Row<'a> {
    label: String,
    detail: String,
    planned: Option<(Timestamp, Timestamp)>,
    steps: Vec<&'a Step>,
    gate: Option<&'a Gate>,
    /// Until when it should last from now, if it is not done.
    ahead: Option<(Timestamp, Timestamp)>,
}

/// The picture of `state` at `now`.
#[must_use]
pub fn timeline_svg(state: &State, now: Timestamp, palette: Palette) -> String {
    let forecast = forecast(state, now);
    let rows = rows(state, &forecast.phases, now);
    let shown_now = state.end.as_ref().map_or(now, |ending| ending.at);
    let (from, to) = span(state, &rows, shown_now);
    let mut canvas = Canvas { palette, from, to, text: String::new() };
    let height = TOP + rows.len() as f64 * ROW + LEGEND;
    canvas.open(height, &format!("Time table of {}, planned against actual", state.runbook().title));
    let bottom = height - LEGEND;
    canvas.axis(bottom);
    let marked = [Some(state.started.t_zero), Some(state.started.window_ends_at), state.end.is_none().then_some(now)];
    let marked: Vec<Timestamp> = marked.into_iter().flatten().collect();
    canvas.marker(state.started.t_zero, bottom, &INK, "T-0", &marked);
    canvas.marker(state.started.window_ends_at, bottom, &BAD, "window ends", &marked);
    for (number, row) in rows.iter().enumerate() {
        canvas.row(state, row, TOP + number as f64 * ROW, shown_now);
    }
    if state.end.is_none() {
        canvas.marker(now, bottom, &WORK, "now", &marked);
    }
    canvas.legend(bottom);
    canvas.text.push_str("</svg>");
    canvas.text
}

fn rows<'a>(state: &'a State, phases: &[PhaseForecast], now: Timestamp) -> Vec<Row<'a>> {
    let forward = state.end.is_none() && state.closing.is_none() && state.rollback.is_none() && state.abort.is_none();
    let of_phase = |(phase, times): (&'a crate::domain::runbook::Phase, &PhaseForecast)| Row {
        label: phase.title().to_owned(),
        detail: detail(times, forward),
        planned: Some((times.planned_start, times.planned_end)),
        steps: phase.steps.iter().collect(),
        gate: state.gates.get(&GateRef::Phase(phase.phase.clone())),
        ahead: (forward && !times.done).then_some((times.start.max(now), times.end)),
    };
    let phases = state.runbook().phases.iter().zip(phases).map(of_phase);
    let shown = |name: &crate::domain::RollbackName| {
        state.rollback.as_ref().is_some_and(|wanted| wanted.name == *name) || state.rolled_back.contains(name)
    };
    let rollbacks = state.runbook().rollback.iter().filter(|(name, _)| shown(name)).map(|(name, rollback)| {
        let wanted = state.rollback.as_ref().filter(|wanted| wanted.name == *name);
        let target_at = wanted.and_then(|wanted| match wanted.stage {
            RollbackStage::Running { target_at } => Some(target_at),
            RollbackStage::AwaitingGate => None,
        });
        Row {
            label: format!("Rollback {name}"),
            detail: format!("target {}", rollback.target),
            planned: wanted.zip(target_at).map(|(wanted, target_at)| (wanted.since, target_at)),
            steps: rollback.steps.iter().collect(),
            gate: state.gates.get(&GateRef::Rollback(name.clone())),
            ahead: target_at.filter(|target_at| *target_at > now).map(|target_at| (now, target_at)),
        }
    });
    phases.chain(rollbacks).collect()
}

fn detail(times: &PhaseForecast, forward: bool) -> String {
    let planned = Duration::between(times.planned_start, times.planned_end);
    let took = Duration::between(times.start, times.end);
    match (times.done, times.begun) {
        (true, true) => format!("planned {planned} · took {took}"),
        (true, false) => "skipped".to_owned(),
        (false, true) if forward => format!("planned {planned} · forecast {took}"),
        (false, _) => format!("planned {planned}"),
    }
}

/// From a little before the first to a little after the last that is shown.
fn span(state: &State, rows: &[Row<'_>], now: Timestamp) -> (Timestamp, Timestamp) {
    let mut instants = vec![state.started.starts_at, state.started.t_zero, now];
    for row in rows {
        instants.extend(row.planned.iter().chain(&row.ahead).flat_map(|(from, to)| [*from, *to]));
        let times = row.steps.iter().map(|step| state.step(&step.step));
        instants.extend(times.flat_map(|step| [step.started_at, step.finished_at]).flatten());
        instants.extend(row.gate.map(|gate| gate.opened_at));
    }
    let first = instants.iter().min().copied().unwrap_or(now);
    let last = instants.iter().max().copied().unwrap_or(now);
    // The end of the window is of interest while it is near; a night's window must not squeeze five minutes into a dot.
    let window = state.started.window_ends_at;
    let last = if window - first <= (last - first) * 3 { last.max(window) } else { last };
    let air = ((last - first) / 40).max(TimeDelta::seconds(30));
    (first - air, last + air)
}

impl Canvas {
    fn open(&mut self, height: f64, title: &str) {
        let _ = write!(
            self.text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" font-family="{FONTS}"><title>"#
        );
        self.escape(title);
        self.text.push_str("</title>");
        self.rect(0.0, 0.0, WIDTH, height, &PAPER, "");
    }

    fn escape(&mut self, text: &str) {
        let _ = Escaper::new(&mut self.text).write_str(text);
    }

    fn colour(&self, paint: &Paint) -> &'static str {
        match self.palette {
            Palette::Light => paint.1,
            Palette::Dark => paint.2,
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let whole = (self.to - self.from).as_seconds_f64();
        let part = (at - self.from).as_seconds_f64() / whole;
        AXIS.0 + part.clamp(0.0, 1.0) * (AXIS.1 - AXIS.0)
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, paint: &Paint, more: &str) {
        let (class, colour) = (paint.0, self.colour(paint));
        let _ = write!(
            self.text,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="f-{class}" fill="{colour}"{more}/>"#
        );
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), paint: &Paint, more: &str) {
        let (class, colour) = (paint.0, self.colour(paint));
        let _ = write!(
            self.text,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="s-{class}" stroke="{colour}"{more}/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    fn label(&mut self, x: f64, y: f64, size: u32, anchor: &str, paint: &Paint, text: &str) {
        let (class, colour) = (paint.0, self.colour(paint));
        let _ = write!(
            self.text,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}" class="f-{class}" fill="{colour}">"#
        );
        self.escape(text);
        self.text.push_str("</text>");
    }

    /// The marks of the axis: UTC, and room for the viewer's own time above it.
    fn axis(&mut self, bottom: f64) {
        let every = tick_minutes((self.to - self.from).num_minutes()) * 60;
        let first = (self.from.timestamp().div_euclid(every) + 1) * every;
        self.label(16.0, TOP - 14.0, 13, "start", &FAINT, "UTC");
        let _ = write!(
            self.text,
            r#"<text x="16" y="{:.1}" font-size="13" class="f-faint" fill="{}" data-zone=""></text>"#,
            TOP - 34.0,
            self.colour(&FAINT)
        );
        let mut at = first;
        while at <= self.to.timestamp() {
            let Some(instant) = chrono::DateTime::from_timestamp(at, 0) else { break };
            let x = self.x(instant);
            self.line((x, TOP - 6.0), (x, bottom), &GRID, "");
            let shape = if every >= 86_400 { "%d %b" } else { "%H:%M" };
            self.label(x, TOP - 14.0, 13, "middle", &FAINT, &instant.format(shape).to_string());
            let _ = write!(
                self.text,
                r#"<text x="{x:.1}" y="{:.1}" font-size="13" text-anchor="middle" class="f-ink" fill="{}" data-local="{}"></text>"#,
                TOP - 34.0,
                self.colour(&INK),
                instant.to_rfc3339()
            );
            at += every;
        }
    }

    /// `marked` are the instants of all markers: a name leans away from one that stands too near.
    fn marker(&mut self, at: Timestamp, bottom: f64, paint: &Paint, name: &str, marked: &[Timestamp]) {
        if at < self.from || at > self.to {
            return;
        }
        let x = self.x(at);
        self.line((x, TOP - 6.0), (x, bottom + 4.0), paint, r#" stroke-width="2" stroke-dasharray="5 4""#);
        let near = |other: &&Timestamp| (self.x(**other) - x).abs() < MARKERS_APART;
        let anchor = if x > AXIS.1 - 60.0 || marked.iter().filter(near).any(|other| *other > at) {
            "end"
        } else if marked.iter().filter(near).any(|other| *other < at) {
            "start"
        } else {
            "middle"
        };
        self.label(x, bottom + 18.0, 13, anchor, paint, name);
    }

    fn row(&mut self, state: &State, row: &Row<'_>, top: f64, now: Timestamp) {
        self.line((0.0, top), (WIDTH, top), &GRID, "");
        self.label(16.0, top + 22.0, 15, "start", &INK, &shortened(&row.label));
        self.label(16.0, top + 40.0, 12, "start", &FAINT, &row.detail);
        if let Some((from, to)) = row.planned {
            self.bar(from, to, top + 9.0, 7.0, &PLAN, "");
        }
        if let Some((from, to)) = row.ahead {
            let stroke = format!(r#" fill-opacity="0.18" stroke="{}" stroke-dasharray="4 3""#, self.colour(&WORK));
            self.bar(from, to, top + 22.0, 20.0, &WORK, &stroke);
        }
        for step in &row.steps {
            self.step(state, step, top + 22.0, now);
        }
        // Last, so that the sign is not hidden by what it has let through.
        if let Some(gate) = row.gate {
            self.gate(gate, top, now);
        }
    }

    fn bar(&mut self, from: Timestamp, to: Timestamp, y: f64, height: f64, paint: &Paint, more: &str) {
        let (from, to) = (self.x(from), self.x(to));
        let more = format!(r#" rx="2"{more}"#);
        self.rect(from, y, (to - from).max(2.0), height, paint, &more);
    }

    fn step(&mut self, state: &State, step: &Step, y: f64, now: Timestamp) {
        let is = state.step(&step.step);
        let Some(from) = is.started_at else { return };
        let paint = match is.status {
            StepStatus::Succeeded => &GOOD,
            StepStatus::Running(_) | StepStatus::Pending | StepStatus::Asserted { .. } => &WORK,
            StepStatus::Waiting { .. } | StepStatus::Interrupted { .. } => &WAIT,
            StepStatus::Failed(_) => &BAD,
            StepStatus::Skipped => return,
        };
        let to = is.finished_at.unwrap_or(if state.end.is_some() { from } else { now });
        let (x, end) = (self.x(from), self.x(to));
        let (class, colour) = (paint.0, self.colour(paint));
        let _ = write!(
            self.text,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="20" rx="2" class="f-{class}" fill="{colour}"><title>"#,
            (end - x - 1.0).max(2.0)
        );
        self.escape(&format!("{} · {}", step.title, Duration::between(from, to)));
        self.text.push_str("</title></rect>");
    }

    /// The time that a card was open, and a sign for how it stands.
    fn gate(&mut self, gate: &Gate, top: f64, now: Timestamp) {
        let (until, paint) = match &gate.standing {
            Standing::Open | Standing::Clearing => (now, &WAIT),
            Standing::Cleared { at, .. } => (*at, &GOOD),
            Standing::Refused(_) => (gate.opened_at, &BAD),
        };
        self.bar(gate.opened_at, until, top + 31.0, 3.0, &WAIT, "");
        let (x, y) = (self.x(until), top + 32.5);
        let (class, colour) = (paint.0, self.colour(paint));
        let _ = write!(
            self.text,
            r#"<path d="M{x:.1} {:.1} l7 7 l-7 7 l-7 -7 z" class="f-{class} s-paper" fill="{colour}" stroke="{}"/>"#,
            y - 7.0,
            self.colour(&PAPER)
        );
    }

    fn legend(&mut self, bottom: f64) {
        let y = bottom + 24.0;
        let mut x = 16.0;
        for (paint, name) in [(&PLAN, "planned"), (&GOOD, "done"), (&WORK, "at work"), (&WAIT, "waits"), (&BAD, "failed")] {
            self.rect(x, y, 10.0, 10.0, paint, r#" rx="2""#);
            self.label(x + 14.0, y + 9.0, 11, "start", &FAINT, name);
            x += 22.0 + name.len() as f64 * 6.2;
        }
    }
}

fn tick_minutes(minutes: i64) -> i64 {
    let fits = |every: &i64| minutes / every <= TICKS_MAX;
    TICK_MINUTES.into_iter().find(fits).unwrap_or_else(|| (minutes / TICKS_MAX / 1_440 + 1) * 1_440)
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LABEL_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LABEL_CHARS_MAX - 1).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_marks_that_read_well() {
        for (minutes, every) in [(5, 1), (40, 5), (60, 10), (240, 30), (540, 60), (3_000, 360), (60_000, 7_200)] {
            assert_eq!(tick_minutes(minutes), every, "{minutes}");
        }
    }

    #[test]
    fn a_long_label_is_cut_at_a_character() {
        assert_eq!(shortened("Kurz"), "Kurz");
        let long = shortened("Überprüfung der Übertragung und der Übergabe an die Übernehmer");
        assert!(long.ends_with('…') && long.chars().count() <= LABEL_CHARS_MAX, "{long}");
    }
}
