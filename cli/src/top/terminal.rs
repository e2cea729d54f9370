//! The terminal while a program is watched.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::{
    history::History,
    screen::View,
    source::{Sample, Source},
    table::Column,
};

/// What the keys for a longer and a shorter interval go through.
const INTERVALS_S: [f64; 8] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0];
/// How soon a signal is heard.
const HEARING: Duration = Duration::from_millis(250);

/// How it came to an end.
pub(super) struct Watched {
    /// The program did, not the user.
    pub(super) has_ended: bool,
    /// What it said last.
    pub(super) last: Option<Sample>,
}

/// Shows the program until the user or the program ends it; then the terminal is as it was.
pub(super) fn watch(source: &Source, interval: Duration, sort: Column) -> anyhow::Result<Watched> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let mut view = View {
        name: source.name(),
        history: History::default(),
        interval_s: interval.as_secs_f64(),
        paused: false,
        problem: None,
        sort,
        reverse: false,
        shows_sites: false,
        scroll: 0,
        page: 0,
    };
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let has_ended = show(&mut terminal, source, &mut view, &ended);
    ratatui::try_restore().context("the terminal cannot be put back; type `reset`")?;
    Ok(Watched { has_ended: has_ended?, last: view.history.now })
}

/// Whether the program came to its end before the user had seen enough.
fn show(
    terminal: &mut DefaultTerminal,
    source: &Source,
    view: &mut View,
    ended: &AtomicBool,
) -> anyhow::Result<bool> {
    let mut next = Instant::now();
    while !ended.load(Relaxed) {
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_secs_f64(view.interval_s);
            if !view.paused && !look(source, view) {
                return Ok(true);
            }
        }
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(next.saturating_duration_since(Instant::now()).min(HEARING))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match view.press(key) {
                Pressed::Quit => return Ok(false),
                Pressed::Now => next = Instant::now(),
                Pressed::Other => {}
            }
        }
    }
    Ok(false)
}

/// Asks the program; whether it is still there.
fn look(source: &Source, view: &mut View) -> bool {
    match source.sample() {
        Ok(sample) => {
            view.history.add(sample);
            view.problem = None;
        }
        // It may be stopped, or about to run another program.
        Err(_) if source.is_alive() => view.problem = Some("no answer".to_owned()),
        Err(_) => return false,
    }
    true
}

/// What a key asks for beyond the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressed {
    Quit,
    /// To look at the program at once.
    Now,
    Other,
}

impl View {
    fn press(&mut self, key: KeyEvent) -> Pressed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Pressed::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Pressed::Quit,
            KeyCode::Char(' ' | 'p') => {
                self.paused = !self.paused;
                return Pressed::Now;
            }
            KeyCode::Char('+' | '=') => return self.set_interval(longer(self.interval_s)),
            KeyCode::Char('-') => return self.set_interval(shorter(self.interval_s)),
            KeyCode::Left => self.sort = self.sort.beside(-1),
            KeyCode::Right | KeyCode::Char('s') => self.sort = self.sort.beside(1),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Tab => (self.shows_sites, self.scroll) = (!self.shows_sites, 0),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(self.page),
            KeyCode::PageDown => self.scroll += self.page,
            KeyCode::Home => self.scroll = 0,
            // Drawing cuts it to the last page.
            KeyCode::End => self.scroll = usize::MAX / 2,
            _ => {}
        }
        Pressed::Other
    }

    fn set_interval(&mut self, seconds: f64) -> Pressed {
        self.interval_s = seconds;
        Pressed::Now
    }
}

fn longer(seconds: f64) -> f64 {
    INTERVALS_S.into_iter().find(|&next| next > seconds).unwrap_or(seconds)
}

fn shorter(seconds: f64) -> f64 {
    INTERVALS_S.into_iter().rev().find(|&next| next < seconds).unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_help_says() {
        let mut view = View {
            name: String::new(),
            history: History::default(),
            interval_s: 1.0,
            paused: false,
            problem: None,
            sort: Column::Allocated,
            reverse: false,
            shows_sites: false,
            scroll: 0,
            page: 10,
        };
        let mut press = |code| {
            let pressed = view.press(KeyEvent::new(code, KeyModifiers::NONE));
            let state = (view.paused, view.interval_s, view.sort, view.reverse, view.scroll);
            (pressed, state, view.shows_sites)
        };
        assert!(press(KeyCode::Char(' ')).1.0);
        assert!(!press(KeyCode::Char(' ')).1.0);
        assert_eq!(press(KeyCode::Char('+')).1.1, 2.0);
        assert_eq!(
            press(KeyCode::Char('-')),
            (Pressed::Now, (false, 1.0, Column::Allocated, false, 0), false)
        );
        assert_eq!(press(KeyCode::Right).1.2, Column::Waste);
        assert_eq!(press(KeyCode::Left).1.2, Column::Allocated);
        assert!(press(KeyCode::Char('r')).1.3);
        assert_eq!(press(KeyCode::PageDown).1.4, 10);
        assert_eq!(press(KeyCode::Up).1.4, 9);
        assert!(press(KeyCode::Tab).2);
        assert_eq!(press(KeyCode::Char('q')).0, Pressed::Quit);
        assert_eq!((longer(60.0), shorter(0.1), shorter(0.3)), (60.0, 0.1, 0.2));
    }
}
