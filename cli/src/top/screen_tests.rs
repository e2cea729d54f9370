//! The picture, as text.

use std::time::{Duration, Instant};

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::top::source::tests::{line, sample};

fn view() -> View {
    let (mut history, start) = (History::default(), Instant::now());
    for second in 0..60 {
        let wave = ((second as f64 / 6.0).sin() * 20_000.0 + 30_000.0) as u64;
        let text = line(wave + second * 100_000, wave);
        history.add(sample(&text, start + Duration::from_secs(second)));
    }
    View {
        name: "python3 train.py (process 1234)".to_owned(),
        history,
        interval_s: 1.0,
        paused: false,
        problem: None,
        sort: Column::Allocated,
        reverse: false,
        shows_sites: false,
        scroll: 0,
        page: 0,
    }
}

/// The lines that a terminal of that size shows.
fn picture(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines: Vec<_> = (0..height).map(row).collect();
    println!("{}", lines.join("\n"));
    lines
}

fn find<'a>(lines: &'a [String], part: &str) -> &'a str {
    let found = lines.iter().find(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("{part} is not in\n{}", lines.join("\n")))
}

#[test]
fn everything_is_there_in_an_ordinary_terminal() {
    let lines = picture(&mut view(), 80, 24);
    assert!(lines[0].starts_with(" python3 train.py (process 1234)"), "{}", lines[0]);
    assert!(lines[0].trim_end().ends_with("every 1 s"), "{}", lines[0]);
    let requested = find(&lines, "requested");
    assert!(requested.contains("peak     8.0 MiB") && requested.contains('█'), "{requested}");
    assert!(find(&lines, "reserved  ").contains("limit   64.0 MiB"));
    assert!(find(&lines, "21.0 MiB").contains("process "));
    assert!(find(&lines, "allocs/s").contains("100.0 % at hand"));
    assert!(find(&lines, "fragmentation").contains("external 25.0 %"));
    assert!(find(&lines, "▼allocated").contains("waste"));
    let rows: Vec<_> = lines.iter().skip_while(|line| !line.contains("▼allocated")).collect();
    assert!(rows[1].contains("large") && rows[1].contains("4.0 MiB"), "{}", rows[1]);
    assert!(rows[2].contains("25.0 %"), "{}", rows[2]);
    assert!(lines[23].starts_with(" q quit  space pause"), "{}", lines[23]);
    assert!(lines[23].trim_end().ends_with("tab call sites"), "{}", lines[23]);
}

#[test]
fn the_user_sorts_pauses_and_scrolls() {
    let mut view = view();
    (view.sort, view.reverse, view.paused) = (Column::Block, true, true);
    let lines = picture(&mut view, 100, 30);
    assert!(lines[0].trim_end().ends_with("paused"), "{}", lines[0]);
    let rows: Vec<_> = lines.iter().skip_while(|line| !line.contains("▲block")).collect();
    assert!(rows[1].contains(" 64 ") && rows[2].contains("large"), "{}\n{}", rows[1], rows[2]);
    // Two rows where there is room for one.
    view.scroll = 100;
    let lines = picture(&mut view, 100, 18);
    assert_eq!((view.scroll, view.page), (1, 1));
    assert!(find(&lines, "2 to 2 of 2").contains("size classes"));
    assert!(lines.iter().any(|line| line.contains("large")));
}

#[test]
fn call_sites_are_shown_where_there_are_any() {
    let mut view = view();
    view.shows_sites = true;
    find(&picture(&mut view, 80, 24), "does not profile");
    let site = |location: &str, live_bytes| crate::top::source::Site {
        location: location.to_owned(),
        live_bytes,
        live_blocks: 12,
    };
    view.history.now.as_mut().unwrap().sites =
        vec![site("model.py:7", 1 << 20), site("main.rs:42", 3 << 20)];
    let lines = picture(&mut view, 80, 24);
    let rows: Vec<_> = lines.iter().skip_while(|line| !line.contains("where")).collect();
    assert!(rows[1].contains("main.rs:42") && rows[1].contains("3.0 MiB"), "{}", rows[1]);
    assert!(rows[2].contains("model.py:7"), "{}", rows[2]);
}

#[test]
fn any_size_and_any_state_can_be_drawn() {
    let mut view = view();
    view.problem = Some("no answer".to_owned());
    for (width, height) in [(1, 1), (5, 3), (20, 8), (40, 12), (79, 23), (71, 40), (300, 100)] {
        for shows_sites in [false, true] {
            view.shows_sites = shows_sites;
            picture(&mut view, width, height);
        }
    }
    let lines = picture(&mut view, 60, 24);
    assert!(lines[0].trim_end().ends_with("no answer"), "{}", lines[0]);
    view.history = History::default();
    picture(&mut view, 80, 24);
}
