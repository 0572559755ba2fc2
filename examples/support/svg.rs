//! Pictures as SVG, for examples and benches: a [`Waterfall`] of phases on one time axis, and the charts [`Bars`] and
//! [`Lines`].
//!
//! Each picture has a background of its own, so that the picture can be read on a page of any colour. The picture is
//! dark if the reader prefers dark (`prefers-color-scheme`), and light for readers that do not know this preference.
//! Text is escaped, and its fonts are generic.
#![allow(dead_code, reason = "each program uses a part of this module")]

use std::fmt::{self, Display, Write};
use std::time::Duration;

use handclasp::Timings;

#[path = "time.rs"]
mod time;

pub(crate) use self::time::{round_time, time};

/// What a bar or a line stands for. Each tone has a colour of its own, in light and in dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Queue,
    Dns,
    Tcp,
    Proxy,
    Tls,
    Send,
    Wait,
    /// The part of `Wait` in which the server worked. The bar lies within a bar of `Wait`.
    Server,
    Receive,
    /// The place at which a request failed. The bar has no length.
    Failed,
    /// The series that a chart recommends.
    Good,
    /// The series that `Good` is compared with.
    Bad,
    /// The same series as `Good`, for another program.
    OtherGood,
    /// The same series as `Bad`, for another program.
    OtherBad,
}

impl Tone {
    /// All tones, in the order in which a legend lists them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Queue,
        Self::Dns,
        Self::Tcp,
        Self::Proxy,
        Self::Tls,
        Self::Send,
        Self::Wait,
        Self::Server,
        Self::Receive,
        Self::Failed,
        Self::Good,
        Self::Bad,
        Self::OtherGood,
        Self::OtherBad,
    ];

    /// Returns the class of the tone's elements, its colour on light ground, and its colour on dark ground. Each colour
    /// has a contrast of 3 to its ground.
    fn look(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Queue => ("queue", "#7d8590", "#8b949e"),
            Self::Dns => ("dns", "#8250df", "#a371f7"),
            Self::Tcp => ("tcp", "#d4700c", "#e3862f"),
            Self::Proxy => ("proxy", "#8a6d1b", "#b89a3e"),
            Self::Tls => ("tls", "#bf3989", "#d9559f"),
            Self::Send => ("send", "#0e8a93", "#2fa3ad"),
            Self::Wait => ("wait", "#0969da", "#3d86e8"),
            Self::Server => ("server", "#061f47", "#ddf4ff"),
            Self::Receive => ("receive", "#1a7f37", "#3a9d50"),
            Self::Failed => ("failed", "#cf222e", "#f85149"),
            Self::Good => ("good", "#0969da", "#3d86e8"),
            Self::Bad => ("bad", "#d4700c", "#e3862f"),
            Self::OtherGood => ("other-good", "#0969da", "#3d86e8"),
            Self::OtherBad => ("other-bad", "#d4700c", "#e3862f"),
        }
    }

    fn class(self) -> &'static str {
        self.look().0
    }

    /// Returns the name of the phase for a legend.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Server => "server works",
            tone => tone.class(),
        }
    }

    /// Returns the phases of a request in their order, and the time of each. A phase that did not happen took no time.
    pub(crate) fn phases(timings: &Timings) -> [(Self, Duration); 8] {
        let [dns, connect, proxy, tls, receive] =
            [timings.dns, timings.connect, timings.proxy, timings.tls, timings.receive]
                .map(Option::unwrap_or_default);
        [
            (Self::Queue, timings.previous + timings.queued),
            (Self::Dns, dns),
            (Self::Tcp, connect),
            (Self::Proxy, proxy),
            (Self::Tls, tls),
            (Self::Send, timings.send),
            (Self::Wait, timings.wait),
            (Self::Receive, receive),
        ]
    }

    /// Whether bars and lines of the tone are only an outline. Their series has the colour of another series.
    fn is_outline(self) -> bool {
        matches!(self, Self::OtherGood | Self::OtherBad)
    }
}

/// Rows of phases on one time axis. Each row is a connection.
#[derive(Debug, Default)]
pub(crate) struct Waterfall {
    pub(crate) title: String,
    /// Text below the title.
    pub(crate) subtitle: String,
    pub(crate) rows: Vec<Row>,
}

/// A row of a [`Waterfall`].
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Whether there is some space above the row, because a new group of rows begins.
    pub(crate) begins_group: bool,
    /// Text to the left of the bars.
    pub(crate) label: String,
    /// Text to the right of the last bar.
    pub(crate) note: String,
    pub(crate) bars: Vec<Bar>,
}

/// A phase. Both offsets count from the origin of the time axis.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) tone: Tone,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    /// Text that a viewer shows for the bar under the pointer.
    pub(crate) hint: String,
}

impl Display for Waterfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.rows.iter().flat_map(|row| &row.bars);
        let tones = Tone::ALL.into_iter().filter(|tone| all().any(|bar| bar.tone == *tone));
        let legend: Vec<_> = tones.map(|tone| (tone, tone.name())).collect();
        let mut page = Page::new(&self.title, &self.subtitle, &legend);
        if self.rows.is_empty() {
            return page.end(f);
        }
        let end = all().map(|bar| bar.end.as_secs_f64()).fold(0.0, f64::max);
        let axis = Axis::to(end, Scale::Linear, |seconds| round_time(Duration::from_secs_f64(seconds)));
        let labels = self.rows.iter().map(|row| width_of(&row.label, SMALL)).fold(0.0, f64::max);
        let left = PAD + labels.min(WIDTH / 3.0) + GAP;
        // Each row has space for its note after its last bar.
        let right = |row: &Row| {
            let end = row.bars.iter().map(|bar| axis.part(bar.end.as_secs_f64())).fold(0.0, f64::max);
            let space = WIDTH - PAD - GAP - width_of(&row.note, SMALL).min(WIDTH / 4.0) - left;
            left + space / end.max(f64::MIN_POSITIVE)
        };
        let right = self.rows.iter().map(right).fold(WIDTH - PAD, f64::min);
        let mut frame = Frame { left, right, top: page.bottom, bottom: page.bottom };
        let mut tops = Vec::new();
        for row in &self.rows {
            let space = if row.begins_group && !tops.is_empty() { GAP } else { 0.0 };
            tops.push(frame.bottom + space);
            frame.bottom += space + ROW;
        }
        page.grid_across(&frame, &axis);
        for (row, top) in self.rows.iter().zip(tops) {
            let middle = top + ROW / 2.0;
            page.text(frame.left - GAP, middle, "end", "", &shortened(&row.label, WIDTH / 3.0));
            let mut last = frame.left;
            for bar in &row.bars {
                let at = |offset: Duration| frame.across(axis.part(offset.as_secs_f64()));
                let (start, end) = (at(bar.start), at(bar.end).max(at(bar.start)));
                last = last.max(if bar.tone == Tone::Failed { end + MARK } else { end });
                let inset = if bar.tone == Tone::Server { 11.0 } else { 4.0 };
                page.bar(bar.tone, (start, top + inset), (end - start, ROW - 2.0 * inset), &bar.hint);
            }
            page.text(last + 6.0, middle, "start", "", &shortened(&row.note, WIDTH / 4.0));
        }
        page.bottom = frame.bottom + 1.6 * LINE;
        page.end(f)
    }
}

/// How a value becomes a place on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Values must be above zero.
    Log,
}

/// Bars in groups, with the value above each bar.
#[derive(Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// Text below the title.
    pub(crate) subtitle: String,
    pub(crate) scale: Scale,
    /// Writes a value as text, with its unit.
    pub(crate) unit: fn(f64) -> String,
    /// Writes a value of the axis, which is a round number.
    pub(crate) round: fn(f64) -> String,
    /// Names of the groups, below the axis.
    pub(crate) groups: Vec<String>,
    pub(crate) series: Vec<BarSeries>,
}

/// The bars of one tone.
#[derive(Debug)]
pub(crate) struct BarSeries {
    pub(crate) name: String,
    pub(crate) tone: Tone,
    /// A value for each group. A group without a value has no bar of this series.
    pub(crate) values: Vec<Option<f64>>,
}

impl Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legend: Vec<_> = self.series.iter().map(|series| (series.tone, &*series.name)).collect();
        let mut page = Page::new(&self.title, &self.subtitle, &legend);
        let values = || self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let axis = Axis::over(values(), self.scale, self.round);
        let frame = Frame::chart(page.bottom + LINE, &axis);
        page.grid_up(&frame, &axis);
        let group = (frame.right - frame.left) / self.groups.len().max(1) as f64;
        let bar = (group * 0.86 / self.series.len().max(1) as f64).min(WIDEST);
        let space = (group - bar * self.series.len() as f64) / 2.0;
        // Values stand above the bars if all of them fit.
        let has_values = values().all(|value| width_of(&(self.unit)(value), TINY) <= bar + 4.0);
        for (nth, name) in self.groups.iter().enumerate() {
            let left = frame.left + group * nth as f64;
            page.text(
                left + group / 2.0,
                frame.bottom + LINE * 0.8,
                "middle",
                "faint",
                &shortened(name, group),
            );
            for (place, series) in self.series.iter().enumerate() {
                let Some(value) = series.values.get(nth).copied().flatten() else { continue };
                let (x, top) = (left + space + bar * place as f64, frame.up(axis.part(value)));
                let hint = format!("{name}, {}: {}", series.name, (self.unit)(value));
                page.bar(series.tone, (x + 1.0, top), (bar - 2.0, frame.bottom - top), &hint);
                let text = (self.unit)(value);
                if has_values {
                    page.text(x + bar / 2.0, top - 7.0, "middle", "tiny", &text);
                }
            }
        }
        page.bottom = frame.bottom + 1.6 * LINE;
        page.end(f)
    }
}

/// Lines through points, on two axes.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    /// Text below the title.
    pub(crate) subtitle: String,
    /// Scales of the axis across and of the axis up.
    pub(crate) scales: [Scale; 2],
    /// Writes a value of the axis across, and a value of the axis up, as text with its unit.
    pub(crate) units: [fn(f64) -> String; 2],
    pub(crate) series: Vec<LineSeries>,
}

/// The line of one tone.
#[derive(Debug)]
pub(crate) struct LineSeries {
    pub(crate) name: String,
    pub(crate) tone: Tone,
    /// Points in the order in which the line connects them.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legend: Vec<_> = self.series.iter().map(|series| (series.tone, &*series.name)).collect();
        let mut page = Page::new(&self.title, &self.subtitle, &legend);
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let across = Axis::over(points().map(|point| point.0), self.scales[0], self.units[0]);
        let up = Axis::over(points().map(|point| point.1), self.scales[1], self.units[1]);
        let frame = Frame::chart(page.bottom + LINE, &up);
        page.grid_up(&frame, &up);
        page.grid_across(&frame, &across);
        for series in &self.series {
            let place = |(x, y): (f64, f64)| (frame.across(across.part(x)), frame.up(up.part(y)));
            let mut path = String::new();
            for (nth, point) in series.points.iter().enumerate() {
                let ((x, y), step) = (place(*point), if nth == 0 { 'M' } else { 'L' });
                let _ = write!(path, "{step}{x:.1} {y:.1}");
            }
            let class = series.tone.class();
            page.put(format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
            for point in &series.points {
                let ((x, y), (h, v)) = (place(*point), *point);
                let hint = format!("{}: {} at {}", series.name, (self.units[1])(v), (self.units[0])(h));
                let hint = Escaped(&hint);
                page.put(format_args!(
                    "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{hint}</title></circle>"
                ));
            }
        }
        page.bottom = frame.bottom + 1.6 * LINE;
        page.end(f)
    }
}

/// An axis from its first value to its last value.
struct Axis {
    scale: Scale,
    first: f64,
    last: f64,
    /// Values that have a line across the picture.
    ticks: Vec<f64>,
    unit: fn(f64) -> String,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, scale: Scale, unit: fn(f64) -> String) -> Self {
        let last = values.clone().fold(0.0, f64::max);
        match scale {
            Scale::Linear => Self::to(last, scale, unit),
            Scale::Log => {
                let least = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
                let least = if least.is_finite() { least } else { 1.0 };
                let (from, to) = (decade(least).floor() as i32, decade(last.max(least)).ceil() as i32);
                let to = to.max(from + 1);
                let ticks = (from..=to).map(|power| 10_f64.powi(power)).collect();
                Self { scale, first: 10_f64.powi(from), last: 10_f64.powi(to), ticks, unit }
            }
        }
    }

    /// Returns a linear axis that ends exactly at `last`.
    fn to(last: f64, scale: Scale, unit: fn(f64) -> String) -> Self {
        let last = if last > 0.0 { last } else { 1.0 };
        Self { scale, first: 0.0, last, ticks: ticks(last), unit }
    }

    /// Returns how far along the axis the value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.first) / (self.last - self.first),
            Scale::Log => {
                let of = |value: f64| decade(value.max(self.first));
                (of(value) - of(self.first)) / (of(self.last) - of(self.first))
            }
        };
        part.clamp(0.0, 1.0)
    }
}

fn decade(value: f64) -> f64 {
    // The logarithm of an exact power may be a little off.
    let power = value.log10();
    if (power - power.round()).abs() < 1e-9 { power.round() } else { power }
}

/// Returns a distance between ticks that people can add up: 1, 2 or 5 times a power of ten.
fn step(last: f64) -> f64 {
    let last = if last > 0.0 { last } else { 1.0 };
    let rough = last / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough).unwrap_or(last)
}

fn ticks(last: f64) -> Vec<f64> {
    let step = step(last);
    (0..=10).map(|nth| f64::from(nth) * step).take_while(|tick| *tick <= last * 1.000_001).collect()
}

/// The rectangle between the axes.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    /// Returns the frame of a chart whose axis up has these ticks.
    fn chart(top: f64, up: &Axis) -> Self {
        let labels = up.ticks.iter().map(|tick| width_of(&(up.unit)(*tick), SMALL)).fold(0.0, f64::max);
        Self { left: PAD + labels + GAP, right: WIDTH - PAD, top, bottom: top + CHART }
    }

    fn across(&self, part: f64) -> f64 {
        self.left + (self.right - self.left) * part
    }

    fn up(&self, part: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * part
    }
}

/// A picture that is being drawn.
struct Page {
    title: String,
    subtitle: String,
    drawn: String,
    /// Lower end of what has been drawn.
    bottom: f64,
}

impl Page {
    /// Draws the title, the subtitle and the legend.
    fn new(title: &str, subtitle: &str, legend: &[(Tone, &str)]) -> Self {
        let mut page =
            Self { title: title.into(), subtitle: subtitle.into(), drawn: String::new(), bottom: PAD };
        for (text, class, size) in [(title, "head", HEAD * BOLD), (subtitle, "faint", SMALL)] {
            if !text.is_empty() {
                let text = shortened_to(text, size, WIDTH - 2.0 * PAD);
                page.text(PAD, page.bottom + LINE / 2.0, "start", class, &text);
                page.bottom += LINE;
            }
        }
        let mut x = PAD;
        page.bottom += 6.0;
        for (tone, name) in legend {
            let width = 18.0 + width_of(name, SMALL);
            if x > PAD && x + width > WIDTH - PAD {
                (x, page.bottom) = (PAD, page.bottom + LINE);
            }
            let middle = page.bottom + LINE / 2.0;
            let height = if *tone == Tone::Server { 4.0 } else { 12.0 };
            page.put(format_args!(
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"{height}\" rx=\"2\"/>",
                tone.class(),
                middle - height / 2.0
            ));
            page.text(x + 17.0, middle, "start", "", name);
            x += width + 16.0;
        }
        page.bottom += if legend.is_empty() { 0.0 } else { LINE + 6.0 };
        page
    }

    fn put(&mut self, element: fmt::Arguments<'_>) {
        let _ = writeln!(self.drawn, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let (y, text) = (y + 4.5, Escaped(text));
        if !text.0.is_empty() {
            self.put(format_args!(
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
            ));
        }
    }

    fn bar(&mut self, tone: Tone, (x, y): (f64, f64), (width, height): (f64, f64), hint: &str) {
        // A gap between bars shows where a phase ends. A short phase stays visible.
        let least = if tone == Tone::Failed { MARK } else { 0.8 };
        let width = (width - (width * 0.15).min(0.8)).max(least);
        let (class, hint) = (tone.class(), Escaped(hint));
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"1\"><title>{hint}</title></rect>"
        ));
    }

    /// Draws the lines of an axis across, with their values below the frame.
    fn grid_across(&mut self, frame: &Frame, axis: &Axis) {
        for tick in &axis.ticks {
            let x = frame.across(axis.part(*tick));
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {:.1}V{:.1}\"/>",
                frame.top,
                frame.bottom + 4.0
            ));
            let value = (axis.unit)(*tick);
            let most = WIDTH - PAD / 2.0 - width_of(&value, SMALL) / 2.0;
            self.text(x.min(most), frame.bottom + LINE * 0.8, "middle", "faint", &value);
        }
    }

    /// Draws the lines of an axis up, with their values to the left of the frame.
    fn grid_up(&mut self, frame: &Frame, axis: &Axis) {
        for tick in &axis.ticks {
            let y = frame.up(axis.part(*tick));
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/>",
                frame.left, frame.right
            ));
            self.text(frame.left - 6.0, y, "end", "faint", &(axis.unit)(*tick));
        }
    }

    fn end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.bottom + PAD / 2.0;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>",
            Escaped(&self.title),
            Escaped(&self.subtitle)
        )?;
        writeln!(f, "<style>\n{}", Style)?;
        writeln!(
            f,
            "</style>\n<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\"/>",
            WIDTH - 1.0,
            height.round() - 1.0
        )?;
        writeln!(f, "{}</svg>", self.drawn)
    }
}

/// The style sheet of every picture.
struct Style;

impl Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "text{{font:{SMALL}px system-ui,sans-serif}}")?;
        writeln!(f, ".head{{font-size:{HEAD}px;font-weight:600}} .tiny{{font-size:{TINY}px}}")?;
        // An outline of text in the colour of the ground keeps lines of the grid out of the text.
        writeln!(f, "text{{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}}")?;
        writeln!(f, "path.line{{fill:none;stroke-width:2px}}")?;
        colours(f, ["#1f2328", "#59636e", "#ffffff", "#d1d9e0"], |(_, light, _)| light)?;
        writeln!(f, "@media (prefers-color-scheme:dark){{")?;
        colours(f, ["#e6edf3", "#9198a1", "#0d1117", "#3d444d"], |(_, _, dark)| dark)?;
        write!(f, "}}")
    }
}

/// Writes the colours of text, faint text, the ground, its lines, and of each tone.
fn colours(
    f: &mut fmt::Formatter<'_>,
    [text, faint, ground, line]: [&str; 4],
    colour: fn((&'static str, &'static str, &'static str)) -> &'static str,
) -> fmt::Result {
    writeln!(f, "text{{fill:{text};stroke:{ground}}} .faint{{fill:{faint}}}")?;
    writeln!(f, ".ground{{fill:{ground};stroke:{line}}} .grid{{stroke:{line}}}")?;
    for tone in Tone::ALL {
        let (class, colour) = (tone.class(), colour(tone.look()));
        if tone.is_outline() {
            writeln!(f, ".{class}{{fill:{ground};stroke:{colour};stroke-width:1.5px}}")?;
        } else {
            writeln!(f, ".{class}{{fill:{colour}}} .line.{class}{{stroke:{colour}}}")?;
        }
    }
    Ok(())
}

/// Text of an element. Characters with a meaning in XML are escaped, and characters that XML forbids are replaced.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\t' | '\n' => f.write_str(" "),
            '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER),
            letter if letter.is_control() => f.write_char(char::REPLACEMENT_CHARACTER),
            letter => f.write_char(letter),
        })
    }
}

/// Returns about how wide a text is. A picture cannot measure its text, because the font is the reader's. The widths are
/// those of a wide font, so that a text has at least the space that it needs.
fn width_of(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size
}

/// Returns the width of a character, as a part of the size of the font.
fn advance(letter: char) -> f64 {
    match letter {
        ' ' | '!' | '\'' | '(' | ')' | ',' | '-' | '.' | '/' | ':' | ';' | 'I' | 'f' | 'i' | 'j' | 'l'
        | 'r' | 't' => 0.4,
        'M' | 'W' | 'm' | '%' | '@' | '…' => 1.0,
        'w' | '#' | '&' | '+' | '<' | '=' | '>' | '~' => 0.85,
        'A'..='Z' => 0.76,
        '\0'..='\u{2ff}' => 0.63,
        _ => 1.0,
    }
}

/// Returns the start of a text that is too wide, with an ellipsis.
fn shortened(text: &str, width: f64) -> String {
    shortened_to(text, SMALL, width)
}

fn shortened_to(text: &str, size: f64, width: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut left = width / size - advance('…');
    let fits = text.chars().take_while(|letter| {
        left -= advance(*letter);
        left >= 0.0
    });
    fits.chain(['…']).collect()
}

const WIDTH: f64 = 800.0;
const PAD: f64 = 16.0;
const GAP: f64 = 10.0;
const LINE: f64 = 20.0;
const ROW: f64 = 26.0;
const CHART: f64 = 240.0;
/// Largest width of a bar of a chart.
const WIDEST: f64 = 64.0;
/// Width of the mark of a failure.
const MARK: f64 = 3.0;
const HEAD: f64 = 15.0;
/// Width of bold text, as a part of the width of other text.
const BOLD: f64 = 1.12;
const SMALL: f64 = 13.0;
const TINY: f64 = 11.0;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn bar(tone: Tone, start: u32, end: u32) -> Bar {
        Bar { tone, start: start * MS, end: end * MS, hint: String::new() }
    }

    /// Returns the value of an attribute of each bar of this tone. Bars have a corner of radius 1.
    fn of(svg: &str, tone: Tone, name: &str) -> Vec<f64> {
        let start = format!("<rect class=\"{}\"", tone.class());
        let bars = svg.lines().filter(|line| line.starts_with(&start) && line.contains("rx=\"1\""));
        bars.map(|line| line.split(&format!(" {name}=\"")).nth(1).unwrap())
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn rows_of_a_waterfall_share_the_time_axis() {
        let row = |bars| Row { label: "#1".into(), note: "100 ms".into(), bars, ..Row::default() };
        let rows = vec![
            row(vec![bar(Tone::Tcp, 0, 50), bar(Tone::Wait, 50, 100)]),
            row(vec![bar(Tone::Tcp, 50, 100)]),
        ];
        let svg = Waterfall { rows, ..Waterfall::default() }.to_string();
        let (tcp, wait) = (of(&svg, Tone::Tcp, "x"), of(&svg, Tone::Wait, "x"));
        assert_eq!(tcp[1], wait[0], "both bars begin at 50 ms");
        assert_eq!(of(&svg, Tone::Tcp, "width")[0], of(&svg, Tone::Tcp, "width")[1]);
        assert_eq!(svg.matches(">TCP</text>").count(), 1, "the legend has each phase once");
        assert!(!svg.contains(">TLS</text>"), "the legend has no phase that did not happen");
    }

    #[test]
    fn the_text_of_a_picture_is_escaped() {
        let hostile = "</text><script>\"&\u{7}\u{ffff}";
        let bars = vec![Bar { hint: hostile.into(), ..bar(Tone::Wait, 0, 1) }];
        let rows = vec![Row { label: hostile.into(), note: hostile.into(), bars, ..Row::default() }];
        let svg = Waterfall { title: hostile.into(), subtitle: hostile.into(), rows }.to_string();
        assert!(!svg.contains("<script") && !svg.contains('\u{7}') && !svg.contains('\u{ffff}'));
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;&quot;&amp;\u{fffd}\u{fffd}"), "{svg}");
    }

    #[test]
    fn a_picture_without_values_is_drawn() {
        let empty = Waterfall::default().to_string();
        let bars = Bars {
            title: String::new(),
            subtitle: String::new(),
            scale: Scale::Linear,
            unit: |value| value.to_string(),
            round: |value| value.to_string(),
            groups: vec!["a".into()],
            series: vec![BarSeries { name: "s".into(), tone: Tone::Good, values: vec![None] }],
        };
        let lines = Lines {
            title: String::new(),
            subtitle: String::new(),
            scales: [Scale::Log; 2],
            units: [|value| value.to_string(); 2],
            series: Vec::new(),
        };
        for svg in [empty, bars.to_string(), lines.to_string()] {
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn bars_stand_on_the_axis_and_grow_with_their_values() {
        let chart = |scale, values: [f64; 2]| Bars {
            title: "t".into(),
            subtitle: String::new(),
            scale,
            unit: |value| format!("{value}"),
            round: |value| format!("{value}"),
            groups: vec!["a".into(), "b".into()],
            series: vec![BarSeries { name: "s".into(), tone: Tone::Good, values: values.map(Some).to_vec() }],
        };
        let heights = of(&chart(Scale::Linear, [4.0, 2.0]).to_string(), Tone::Good, "height");
        assert!((heights[0] - 2.0 * heights[1]).abs() < 0.2, "{heights:?}");
        let heights = of(&chart(Scale::Log, [1000.0, 10.0]).to_string(), Tone::Good, "height");
        assert!(heights[0] == CHART && heights[1] == 0.0, "an axis of decades: {heights:?}");
    }

    /// Long texts end within the picture, also if all of their characters are wide.
    #[test]
    fn no_text_leaves_the_picture() {
        for letter in ["x", "W", "\u{6f22}"] {
            let long = letter.repeat(300);
            let bars = vec![bar(Tone::Tcp, 0, 1), bar(Tone::Wait, 1, 60_000)];
            let rows = vec![Row { label: long.clone(), note: long.clone(), bars, ..Row::default() }];
            let svg = Waterfall { title: long.clone(), subtitle: long.clone(), rows }.to_string();
            let drawn =
                svg.lines().filter(|line| line.starts_with("<text") && line.contains(&letter.repeat(9)));
            let mut texts = 0;
            for line in drawn {
                let x: f64 = line.split("x=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
                let shown = line.split('>').nth(1).unwrap().trim_end_matches("</text");
                let width = width_of(shown, if line.contains("head") { HEAD * BOLD } else { SMALL });
                let (from, to) = if line.contains("\"end\"") { (x - width, x) } else { (x, x + width) };
                assert!(from >= 0.0 && to <= WIDTH && shown.ends_with('…'), "{from} to {to}: {line}");
                texts += 1;
            }
            assert_eq!(texts, 4, "title, subtitle, label, note: {svg}");
        }
    }

    #[test]
    fn groups_of_rows_stand_apart() {
        let row = |begins_group| Row { begins_group, bars: vec![bar(Tone::Wait, 0, 1)], ..Row::default() };
        let svg = Waterfall { rows: vec![row(true), row(false), row(true)], ..Waterfall::default() };
        let tops = of(&svg.to_string(), Tone::Wait, "y");
        assert_eq!([tops[1] - tops[0], tops[2] - tops[1]], [ROW, ROW + GAP]);
    }

    /// A bar without length is seen: a failure, and a phase that is short beside the others.
    #[test]
    fn a_bar_has_a_least_width() {
        let bars = vec![bar(Tone::Tcp, 0, 1), bar(Tone::Wait, 1, 3_600_000), bar(Tone::Failed, 5, 5)];
        let rows = vec![Row { bars, ..Row::default() }];
        let svg = Waterfall { rows, ..Waterfall::default() }.to_string();
        assert_eq!((of(&svg, Tone::Tcp, "width"), of(&svg, Tone::Failed, "width")), (vec![0.8], vec![MARK]));
    }

    /// Returns the contrast of two colours as WCAG 2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let [one, other] = [one, other].map(|colour| {
            let part = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            let light = |part: f64| {
                if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * light(part(1)) + 0.7152 * light(part(3)) + 0.0722 * light(part(5))
        });
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// A bar has a contrast of 3 to its ground, as WCAG 2.2 wants of graphics (success criterion 1.4.11). The bar of the
    /// server has this contrast to the bar on which it lies.
    #[test]
    fn every_colour_can_be_seen() {
        for tone in Tone::ALL {
            let (class, light, dark) = tone.look();
            for (colour, ground) in [(light, "#ffffff"), (dark, "#0d1117")] {
                assert!(contrast(colour, ground) >= 3.0, "{class}: {}", contrast(colour, ground));
            }
        }
        let (server, wait) = (Tone::Server.look(), Tone::Wait.look());
        assert!(contrast(server.1, wait.1) >= 3.0, "{}", contrast(server.1, wait.1));
        assert!(contrast(server.2, wait.2) >= 3.0, "{}", contrast(server.2, wait.2));
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks(1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(30.0), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(ticks(7.0), [0.0, 2.0, 4.0, 6.0]);
    }
}
