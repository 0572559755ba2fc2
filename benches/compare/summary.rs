//! This program prints a table of ratios, and a verdict for each budget, from the results that the benches have
//! printed.
//!
//! `cargo bench --bench summary -- FILE...` reads the lines `RESULT <bench> <cell> <client> <value> <unit>` of these
//! files and ignores all other lines. This program is the last step of `benches/compare/run`.

use std::collections::HashMap;
use std::fs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut results = Results::default();
    // `cargo bench` adds the argument `--bench`.
    let paths: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if paths.is_empty() {
        return Ok(());
    }
    for path in paths {
        results.read(&fs::read_to_string(path)?);
    }
    results.ratios();
    results.budgets();
    Ok(())
}

#[derive(Default)]
struct Results {
    /// Values by `bench/cell`, client, and unit. The unit is empty unless the value is a ratio.
    values: HashMap<(String, String, String), f64>,
    /// Each `bench/cell` once, in the order of the input.
    cells: Vec<String>,
}

impl Results {
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["RESULT", bench, cell, client, value, unit] = words[..] else { continue };
            let Ok(value) = value.parse() else { continue };
            let cell = format!("{bench}/{cell}");
            if !self.cells.contains(&cell) {
                self.cells.push(cell.clone());
            }
            let ratio = if unit.starts_with("x:") { unit } else { "" };
            self.values.insert((cell, client.to_owned(), ratio.to_owned()), value);
        }
    }

    fn get(&self, cell: &str, client: &str, ratio: &str) -> Option<f64> {
        self.values.get(&(cell.to_owned(), client.to_owned(), ratio.to_owned())).copied()
    }

    fn value(&self, cell: &str, client: &str) -> Option<f64> {
        self.get(cell, client, "")
    }

    /// Returns the ratio of handclasp to another client. If the bench has printed the median of the ratios of all
    /// rounds, the function returns this median. Otherwise it returns the ratio of the two values.
    fn ratio(&self, cell: &str, other: &str) -> Option<f64> {
        let of_values = || {
            let (own, other) = (self.value(cell, "handclasp")?, self.value(cell, other)?);
            (other > 0.0).then(|| own / other).filter(|ratio| *ratio < 100.0)
        };
        self.get(cell, "handclasp", &format!("x:{other}")).or_else(of_values)
    }

    fn ratios(&self) {
        println!("\n## handclasp, where the other client is 1: less is better\n");
        println!("| what | handclasp | {} |", OTHERS.join(" | "));
        println!("|---|---:|{}", "---:|".repeat(OTHERS.len()));
        for cell in &self.cells {
            let Some(value) = self.value(cell, "handclasp") else { continue };
            let ratios = OTHERS.map(|other| self.ratio(cell, other));
            if ratios.iter().any(Option::is_some) {
                let told = ratios.map(|ratio| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
                println!("| {cell} | {value:.2} | {} |", told.join(" | "));
            }
        }
    }

    fn budgets(&self) {
        println!("\n## Budgets\n\n| what | measured | budget | |\n|---|---:|---:|---|");
        let judge = |what: &str, measured: Option<f64>, budget: f64| {
            // The verdict is about the rounded value, so that the verdict agrees with the two digits that are
            // printed.
            let (told, verdict) = match measured.map(|measured| (measured * 100.0).round() / 100.0) {
                Some(measured) if measured <= budget => (format!("{measured:.2}"), "met"),
                Some(measured) => (format!("{measured:.2}"), "MISSED"),
                None => (String::new(), "not measured"),
            };
            println!("| {what} | {told} | {budget} | {verdict} |");
        };
        // handclasp has to need less processor time than hyper's bare connection: its budget is below 1.
        for (threads, budgets) in [
            ("1-thread", &[("loop", 1.5), ("hyper-util", 0.7), ("reqwest", 0.5), ("hyper", 0.99)][..]),
            ("2-threads", &[("loop", 1.6), ("hyper-util", 0.6), ("reqwest", 0.4)]),
        ] {
            for (other, budget) in budgets {
                let measured = self.ratio(&format!("request/cpu/http/{threads}/32"), other);
                judge(&format!("CPU per warm GET, 32 in flight, {threads}, {other} = 1"), measured, *budget);
            }
        }
        for scheme in ["http", "https"] {
            let measured = self.ratio(&format!("request/latency/{scheme}/1-thread/1"), "loop");
            judge(&format!("latency of a warm GET, one in flight, {scheme}, loop = 1"), measured, 1.05);
        }
        judge("allocations per warm GET", self.value("allocations/count/http", "handclasp"), 6.0);
        for sort in ["write", "read", "look"] {
            let measured = self.value(&format!("syscalls/{sort}/http/1"), "handclasp");
            judge(&format!("syscalls per warm GET, http: {sort}"), measured, 1.0);
        }
        // The budget allows one more read on a TLS connection, because the look is a read there.
        let of = |sort| self.value(&format!("syscalls/{sort}/https/1"), "handclasp");
        judge("syscalls per warm GET, https: write", of("write"), 1.0);
        let reads = of("read").zip(of("look")).map(|(read, look)| read + look);
        judge("syscalls per warm GET, https: read and look", reads, 2.0);
        self.content(&judge);
        for (scheme, budget) in [("http", 1536.0), ("https", 8192.0)] {
            for (sort, made) in
                [("heap", "in_turn"), ("heap", "at_once"), ("resident", "in_turn"), ("resident", "at_once")]
            {
                let start = format!("idle_memory/{sort}/{scheme}/{made}/");
                let own = self.cells.iter().filter(|cell| cell.starts_with(&start));
                let most = own.filter_map(|cell| self.value(cell, "handclasp")).reduce(f64::max);
                let how = made.replace('_', " ");
                judge(&format!("bytes per idle connection, {scheme}, made {how}, {sort}"), most, budget);
            }
        }
        for scheme in ["http", "https"] {
            for (sort, limited, unlimited) in
                [("connections", 8.0, 100.0), ("lookups", 1.0, 1.0), ("failed", 0.0, 0.0)]
            {
                let of = |client| self.value(&format!("cold_burst/{sort}/{scheme}"), client);
                let what = format!("100 at once to a cold host, {scheme}: {sort}");
                judge(&format!("{what}, limit 8"), of("handclasp"), limited);
                judge(&format!("{what}, no limit"), of("handclasp-unlimited"), unlimited);
            }
        }
        for (hosts, budget) in [(1, 300.0), (1_000, 300.0), (100_000, 1_000.0)] {
            let measured = self.value(&format!("pool/pair/{hosts}"), "handclasp");
            judge(&format!("ns per checkout and checkin, {hosts} hosts"), measured, budget);
        }
        for (what, name, budget) in
            [("without default features", "handclasp-bare", 16.0), ("rustls alone", "handclasp-rustls", 30.0)]
        {
            // The bench counts handclasp as one of the crates, and the budget does not.
            let needed = self.value("build/crates", name).map(|crates| crates - 1.0);
            judge(&format!("crates that handclasp needs, {what}"), needed, budget);
        }
        for other in ["reqwest-rustls", "reqwest-ring"] {
            let of = |client| self.value("build/cpu", client);
            let measured = of("handclasp-rustls").zip(of(other)).map(|(own, other)| own / other);
            judge(&format!("clean build with rustls, {other} = 1"), measured, 0.5);
        }
        println!(
            "\nNot measured here: requests over a slow link (`cargo bench --bench pooled_vs_fresh`), and errors"
        );
        println!("that are seen when the server closes after each response (the crate's tests).");
    }

    fn content(&self, judge: &impl Fn(&str, Option<f64>, f64)) {
        for way in ["download/known", "download/chunked", "upload/pieces", "upload/whole"] {
            for (size, budget) in [("64K", 0.8), ("1M", 0.8), ("16M", 1.0)] {
                let measured = self.ratio(&format!("body/cpu/{way}/{size}"), "hyper-util");
                judge(&format!("CPU per byte, {way}/{size}, hyper-util = 1"), measured, budget);
            }
        }
        for way in ["download/known", "download/chunked", "upload/pieces"] {
            for size in ["64K", "1M", "16M"] {
                let measured = self.value(&format!("body/allocated/{way}/{size}"), "handclasp");
                judge(&format!("allocated bytes per byte, {way}/{size}"), measured, 0.3);
            }
        }
        for way in ["download/known", "download/chunked", "upload/pieces"] {
            // The heap must not grow with the body. The budget is enough for a few buffers, of which the largest has
            // 128 KiB.
            let measured = self.value(&format!("body/peak/{way}/1024M"), "handclasp");
            judge(&format!("MiB of heap at most while 1 GiB moves, {way}"), measured.map(in_mib), 2.0);
        }
    }
}

fn in_mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

const OTHERS: [&str; 6] = ["loop", "hyper", "hyper-util", "reqwest", "aioduct", "ureq"];
