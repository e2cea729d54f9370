//! Stacks of many frames: call sites, leaks, differences, and their files.
use genesis_mem_profile::{
    Baseline, Call, Diff, Frame, Live, Memory, Module, Report, Sampling, StackId, Usage,
    format::{flame, json, pprof},
};

fn frame(function: &str, line: u32) -> Frame {
    Frame { function: function.into(), file: "src/main.rs".into(), line }
}

/// `main` calls `fill` at one of two lines, which calls the library, which allocates.
fn stack(report: &mut Report, main_line: u32) -> StackId {
    let library = [frame("grow", 900), frame("reserve", 800)].map(|frame| (frame, true));
    let own = [frame("fill", 5), frame("main", main_line)].map(|frame| (frame, false));
    let call = |address, frames| Call { address, module: Some(0), frames };
    let calls = [call(0x1100, 2), call(0x1200, 1), call(0x1300 + u64::from(main_line), 1)];
    report.stacks.intern_calls(library.into_iter().chain(own), &calls)
}

fn usage(stack: StackId, blocks: u64, bytes: u64) -> Usage {
    let (total_blocks, total_bytes, freed_blocks) = (blocks + 1, bytes + 10, 1);
    Usage { stack, total_blocks, total_bytes, freed_blocks, freed_bytes: 10, ..Usage::default() }
}

/// Two ways to one call site, and another site.
fn report(held: [u64; 3]) -> Report {
    let mut report = Report::now();
    let path = "/usr/bin/program".to_owned();
    let build_id = "c0ffee".to_owned();
    report.stacks.modules.push(Module { path, build_id, address: 0x1000, end: 0x2000, offset: 0 });
    let other = report.stacks.intern([frame("other", 7)]);
    let stacks = [stack(&mut report, 20), stack(&mut report, 30), other];
    report.time_ns = 1_000_000_000;
    for (stack, bytes) in stacks.into_iter().zip(held) {
        report.usages.push(usage(stack, 2, bytes));
        for part in [bytes / 4, bytes - bytes / 4] {
            report.live.push(Live {
                memory: Memory::Host,
                address: report.live.len() as u64 * 4096,
                bytes: part,
                block_bytes: part,
                owner: 0,
                stack,
                since_ns: 1 + part,
                weight: 1.0,
            });
        }
    }
    report
}

#[test]
fn stacks_of_one_line_of_the_program_are_one_call_site() {
    let report = report([1000, 500, 100]);
    let sites = report.by_live_bytes();
    assert_eq!((sites.len(), report.paths_by(Usage::live_bytes).len()), (2, 3));
    assert_eq!(sites[0].usage.live_bytes(), 1500);
    assert_eq!(report.stacks.location(sites[0].key.1), "src/main.rs:5");
    let summary = report.summary();
    assert!(
        summary.contains("1.4 KiB in        4 blocks  host    src/main.rs:5, in fill"),
        "{summary}"
    );
}

#[test]
fn leaks_have_callers_and_can_be_ignored() {
    let report = report([1000, 500, 100]);
    let leaks = report.leaks(Baseline::default());
    assert_eq!((leaks.sites.len(), leaks.blocks(), leaks.bytes()), (2, 6, 1600));
    assert_eq!(leaks.sites[0].path, ["src/main.rs:5, in fill", "src/main.rs:20, in main"]);
    let later = report.leaks(Baseline::from_ns(400));
    assert_eq!((later.blocks(), later.bytes()), (1, 750));
    for pattern in ["fill", "reserve", "bin/program"] {
        let rest = report.leaks_except(Baseline::default(), &["nobody".into(), pattern.into()]);
        assert_eq!((rest.sites.len(), rest.bytes()), (1, 100), "{pattern}");
        assert_eq!((rest.ignored[0].blocks, rest.ignored[0].bytes), (4, 1500));
        assert!(rest.to_string().contains(&format!("through {pattern:?}")), "{rest}");
    }
}

#[test]
fn samples_stand_for_several_blocks() {
    let mut report = report([1000, 500, 100]);
    report.live.iter_mut().for_each(|live| live.weight = 2.5);
    report.sampling = Some(Sampling { interval_bytes: 512 << 10, samples: 6 });
    let leaks = report.leaks(Baseline::default());
    assert_eq!((leaks.blocks(), leaks.bytes()), (15, 4000));
    let summary = report.summary();
    assert!(summary.contains("from 6 samples, one each 512.0 KiB"), "{summary}");
    let mut text = Vec::new();
    json::write_report(&report, &mut text).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["sampling"]["samples"], 6);
    assert_eq!(value["sites"][0]["site"], "src/main.rs:5");
    assert_eq!(pprof::profile(&report).period, 512 << 10);
}

#[test]
fn differences_name_what_grew() {
    let (older, newer) = (report([1000, 500, 300]), report([1000, 2500, 100]));
    let diff = Diff::between(&older, &newer);
    let sites = diff.sites();
    let grown: Vec<_> = sites.iter().map(|site| site.grown_bytes()).collect();
    assert_eq!((grown, diff.grown_bytes()), (vec![2000, -200], 1800));
    let text = diff.to_string();
    assert!(text.contains("+1.9 KiB to    3.4 KiB") && text.contains("Shrank"), "{text}");
    let folded = flame::folded_diff(&diff, flame::Weight::LiveBytes);
    assert!(folded.contains(&"host;main;fill;reserve;grow 1500 3500".to_owned()), "{folded:?}");
    let mut svg = Vec::new();
    flame::write_diff_svg(&diff, flame::Weight::LiveBytes, &mut svg).unwrap();
    assert!(String::from_utf8(svg).unwrap().contains("fill"));
    let profile = pprof::profile_of_diff(&diff);
    let live: Vec<_> = profile.sample.iter().map(|sample| sample.value[3]).collect();
    assert_eq!((live.len(), live.iter().sum::<i64>()), (2, 1800));
    assert!(Diff::between(&newer, &newer).sites().is_empty());
}

#[test]
fn pprof_has_mappings_addresses_and_inlined_lines() {
    let profile = pprof::profile(&report([1000, 500, 100]));
    let text = |index: i64| &*profile.string_table[index as usize];
    let mapping = profile.mapping[0];
    assert_eq!((text(mapping.filename), text(mapping.build_id)), ("/usr/bin/program", "c0ffee"));
    assert_eq!((mapping.memory_start, mapping.memory_limit), (0x1000, 0x2000));
    let of = |sample: usize| {
        let ids = profile.sample[sample].location_id.iter();
        let location = |id| profile.location.iter().find(|location| location.id == id).unwrap();
        ids.map(|&id| location(id)).collect::<Vec<_>>()
    };
    let addresses: Vec<_> = of(0).iter().map(|at| (at.mapping_id, at.address)).collect();
    assert_eq!(addresses, [(1, 0x1100), (1, 0x1200), (1, 0x1300 + 20)]);
    let lines: Vec<_> = of(0)[0].line.iter().map(|line| line.line).collect();
    assert_eq!(lines, [900, 800], "the inlined frame is the first");
    assert_eq!(of(0)[1], of(1)[1]);
    assert_eq!((of(2).len(), of(2)[0].address), (1, 0));
}
