//! What an attempt prints, kept in the run's directory: redacted by whoever hands it in, and bounded here.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use super::run_dir::RunDirectory;
use crate::domain::run::OutputFile;

/// Bytes kept from the beginning, written as they come so that a crash loses none of them.
const HEAD_BYTES: usize = 512 * 1024;
/// Bytes kept from the end. Both together stay far below Discord's 10 MiB for an attachment.
const TAIL_BYTES: usize = 512 * 1024;
/// What a card shows of it, in characters; the journal's limit for `OutputFile::tail`.
const SHOWN_CHARS: usize = 700;

/// The log of one attempt. The file is made with the first line.
pub(super) struct Output {
    directory: RunDirectory,
    relative: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<File>,
    head_bytes: usize,
    tail: VecDeque<u8>,
    dropped_bytes: u64,
    /// The end of everything, for the card.
    recent: String,
    trouble: Option<String>,
    any: bool,
}

impl Output {
    /// `name` is the file's name without its ending, e.g. `import.1`.
    pub(super) fn new(directory: &RunDirectory, name: &str) -> Self {
        Self { directory: directory.clone(), relative: format!("output/{name}.log"), inner: Mutex::default() }
    }

    /// Takes one line, without its end. Never fails: what cannot be stored is said at the end.
    pub(super) fn line(&self, text: &str) {
        let mut inner = self.inner.lock().expect("no code panics while it holds the output");
        inner.any = true;
        inner.show(text);
        if inner.trouble.is_some() {
            return;
        }
        if let Err(error) = self.store(&mut inner, text) {
            inner.trouble = Some(error.to_string());
        }
    }

    fn store(&self, inner: &mut Inner, text: &str) -> io::Result<()> {
        if inner.file.is_none() {
            inner.file = Some(self.open()?);
        }
        let line = format!("{text}\n");
        if inner.head_bytes + line.len() <= HEAD_BYTES && inner.tail.is_empty() {
            inner.head_bytes += line.len();
            return inner.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()));
        }
        inner.tail.extend(line.as_bytes());
        let excess = inner.tail.len().saturating_sub(TAIL_BYTES);
        inner.tail.drain(..excess);
        inner.dropped_bytes += excess as u64;
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        self.directory.subdirectory("output")?;
        File::create(self.path())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.relative)
    }

    /// What was printed; `None` if nothing was.
    pub(super) fn finish(&self) -> Option<OutputFile> {
        let mut inner = self.inner.lock().expect("no code panics while it holds the output");
        if !inner.any {
            return None;
        }
        if let Err(error) = inner.flush() {
            inner.trouble.get_or_insert(error.to_string());
        }
        if let Some(trouble) = inner.trouble.clone() {
            inner.show(&format!("[the output could not be stored: {trouble}]"));
        }
        let bytes = std::fs::metadata(self.path()).map_or(0, |data| data.len());
        Some(OutputFile { file: self.relative.clone(), bytes, tail: last_chars(&inner.recent) })
    }
}

impl Inner {
    fn show(&mut self, text: &str) {
        self.recent.push_str(text);
        self.recent.push('\n');
        if self.recent.len() > 16 * SHOWN_CHARS {
            self.recent = last_chars(&self.recent) + "\n";
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.dropped_bytes > 0 {
            writeln!(file, "[... {} bytes left out ...]", self.dropped_bytes)?;
        }
        let (front, back) = self.tail.as_slices();
        file.write_all(&String::from_utf8_lossy(&[front, back].concat()).into_owned().into_bytes())?;
        self.tail.clear();
        self.dropped_bytes = 0;
        file.sync_all()
    }
}

fn last_chars(text: &str) -> String {
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(SHOWN_CHARS);
    let cut: String = text.chars().skip(skip).collect();
    match cut.split_once('\n') {
        // A line that was cut in the middle reads worse than none.
        Some((_, whole)) if skip > 0 => whole.to_owned(),
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::run_dir::RunDirectories;
    use crate::domain::RunId;

    #[test]
    fn head_and_end_are_kept_and_the_card_shows_the_last_lines() {
        let data = tempfile::tempdir().unwrap();
        let directory = RunDirectories::new(data.path()).of(&RunId::from_random(1));
        let output = Output::new(&directory, "copy.1");
        for number in 0..200_000 {
            output.line(&format!("line {number}"));
        }
        let file = output.finish().unwrap();
        assert_eq!(file.file, "output/copy.1.log");
        let text = std::fs::read_to_string(directory.path().join(&file.file)).unwrap();
        assert!(text.starts_with("line 0\n") && text.ends_with("line 199999\n"), "{}", text.len());
        assert!(text.contains("bytes left out"), "{}", text.len());
        assert!(text.len() <= HEAD_BYTES + TAIL_BYTES + 100);
        assert!(file.tail.ends_with("line 199998\nline 199999") && file.tail.chars().count() <= SHOWN_CHARS, "{}", file.tail);
    }

    #[test]
    fn nothing_printed_makes_no_file() {
        let data = tempfile::tempdir().unwrap();
        let directory = RunDirectories::new(data.path()).of(&RunId::from_random(1));
        assert_eq!(Output::new(&directory, "copy.1").finish(), None);
        assert!(!directory.path().exists());
    }

    #[test]
    fn output_that_cannot_be_stored_is_said_and_not_lost_on_the_card() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("runs"), "in the way").unwrap();
        let output = Output::new(&RunDirectories::new(data.path()).of(&RunId::from_random(1)), "copy.1");
        output.line("hello");
        let tail = output.finish().unwrap().tail;
        assert!(tail.starts_with("hello\n[the output could not be stored:"), "{tail}");
    }
}
