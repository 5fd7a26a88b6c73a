//! Plots as SVG, without any script: axes, lines, bands.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
/// Room for the labels of the axes.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 12.0;
/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

/// How values become positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    /// Powers of ten; values that are not above 0 stand at the lower end.
    Log,
}

/// One axis.
#[derive(Debug, Clone)]
pub struct Axis {
    pub label: String,
    pub from: f64,
    pub until: f64,
    pub scale: Scale,
}

/// A curve with a name and a colour; `steps`: it keeps its value until the next point.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub colour: &'static str,
    pub points: Vec<(f64, f64)>,
    /// Half the height of a band around it.
    pub band: Option<f64>,
    pub steps: bool,
}

impl Line {
    pub fn new(name: &str, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), colour, points, band: None, steps: false }
    }
}

impl Axis {
    /// From 0, or a little below the smallest value with [`Scale::Log`], to the largest.
    pub fn around(label: &str, scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let most = finite.clone().fold(f64::NEG_INFINITY, f64::max);
        let least = finite.fold(f64::INFINITY, f64::min);
        let (from, until) = match scale {
            _ if most < least => (if scale == Scale::Log { 0.1 } else { 0.0 }, 1.0),
            Scale::Linear => (least.min(0.0), if most > least.min(0.0) { most } else { most + 1.0 }),
            Scale::Log => {
                (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil().max(least.log10().floor() + 1.0)))
            }
        };
        Self { label: label.into(), from, until, scale }
    }

    /// Where a value lies, 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let of = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.from).log10(),
        };
        ((of(value) - of(self.from)) / (of(self.until) - of(self.from))).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                let (first, last) = (self.from.log10().round() as i32, self.until.log10().round() as i32);
                let every = ((last - first) as f64 / TICKS).ceil().max(1.0) as usize;
                (first..=last).step_by(every).map(|power| 10f64.powi(power)).collect()
            }
            Scale::Linear => {
                let rough = (self.until - self.from) / TICKS;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0) * power;
                let first = (self.from / step).ceil() as i64;
                (first..)
                    .map(|number| number as f64 * step)
                    .take_while(|tick| *tick <= self.until * (1.0 + 1e-9))
                    .collect()
            }
        }
    }
}

/// A whole plot. `marks`: horizontal lines with a name.
pub fn svg(x: &Axis, y: &Axis, lines: &[Line], marks: &[(&str, f64)]) -> String {
    let across = |value: f64| LEFT + x.part(value) * (WIDTH - LEFT - RIGHT);
    let up = |value: f64| HEIGHT - BOTTOM - y.part(value) * (HEIGHT - BOTTOM - TOP);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    // Writing to a string does not fail.
    for tick in y.ticks() {
        let at = up(tick);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ = writeln!(out, "<text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, at + 4.0, short(tick));
    }
    for tick in x.ticks() {
        let (at, below) = (across(tick), HEIGHT - BOTTOM + 14.0);
        let _ = writeln!(out, "<text class=\"x\" x=\"{at:.1}\" y=\"{below}\">{}</text>", short(tick));
    }
    let _ =
        writeln!(out, "<text class=\"x\" x=\"{}\" y=\"{}\">{}</text>", WIDTH / 2.0, HEIGHT - 3.0, escaped(&x.label));
    let _ = writeln!(
        out,
        "<text class=\"label\" x=\"{LEFT}\" y=\"{}\" dx=\"6\" dy=\"10\">{}</text>",
        TOP,
        escaped(&y.label)
    );
    for (name, value) in marks {
        let at = up(*value);
        let _ = writeln!(
            out,
            "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ = writeln!(
            out,
            "<text class=\"markname\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            at - 4.0,
            escaped(name)
        );
    }
    for line in lines {
        if let Some(half) = line.band {
            let above = line.points.iter().map(|(at, value)| (across(*at), up(value + half)));
            let below = line.points.iter().rev().map(|(at, value)| (across(*at), up(value - half)));
            let corners: Vec<String> = above.chain(below).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"0.15\"/>",
                corners.join(" "),
                line.colour
            );
        }
        let mut path = String::new();
        let mut before: Option<f64> = None;
        for (at, value) in &line.points {
            let (x, y) = (across(*at), up(*value));
            match (before, line.steps) {
                (None, _) => _ = write!(path, "M{x:.1} {y:.1}"),
                (Some(_), true) => _ = write!(path, "H{x:.1}V{y:.1}"),
                (Some(_), false) => _ = write!(path, "L{x:.1} {y:.1}"),
            }
            before = Some(y);
        }
        let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>", line.colour);
    }
    let mut from = LEFT + 90.0 + y.label.len() as f64 * 4.0;
    for line in lines.iter().filter(|line| !line.name.is_empty()) {
        let _ = writeln!(
            out,
            "<rect x=\"{from}\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{}\"/>",
            TOP + 6.0,
            line.colour
        );
        let _ = writeln!(
            out,
            "<text class=\"label\" x=\"{}\" y=\"{}\" dy=\"10\">{}</text>",
            from + 14.0,
            TOP,
            escaped(&line.name)
        );
        from += 34.0 + line.name.len() as f64 * 7.0;
    }
    out.push_str("</svg>\n");
    out
}

/// A number as an axis shows it.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => {
            let power = size.log10().floor();
            match value / 10f64.powf(power) {
                mantissa if (mantissa - 1.0).abs() < 1e-6 => format!("10^{power}"),
                mantissa => format!("{mantissa:.0}·10^{power}"),
            }
        }
        size if size >= 1_000.0 => super::table::grouped(value as u64),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// Text as it may stand in a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_a_few_round_ticks() {
        let linear = Axis::around("s", Scale::Linear, [3.0, 47.0].into_iter());
        assert_eq!((linear.from, linear.until, linear.ticks()), (0.0, 47.0, vec![0.0, 10.0, 20.0, 30.0, 40.0]));
        let log = Axis::around("E", Scale::Log, [0.3, 4_210.0, 0.0, f64::NAN].into_iter());
        assert_eq!((log.from, log.until), (0.1, 10_000.0));
        assert_eq!(log.part(0.0), 0.0);
        assert!((log.part(10.0) - 0.4).abs() < 1e-9);
        let empty = Axis::around("nothing", Scale::Log, std::iter::empty());
        assert!(empty.from < empty.until);
        let flat = Axis::around("flat", Scale::Linear, [0.0, 0.0].into_iter());
        assert!(flat.from < flat.until && flat.part(0.0).is_finite());
    }

    #[test]
    fn a_plot_has_its_lines_its_mark_and_nothing_that_could_be_run() {
        let points = vec![(0.0, 1.0), (10.0, 100.0)];
        let line = Line { band: Some(0.1), steps: true, ..Line::new("E <b>", "#06c", points) };
        let (x, y) = (
            Axis::around("s", Scale::Linear, [10.0].into_iter()),
            Axis::around("E", Scale::Log, [1.0, 100.0].into_iter()),
        );
        let plot = svg(&x, &y, &[line], &[("at this", 50.0)]);
        assert!(plot.contains("<path d=\"M64.0 190.0H848.0V10.0\"") && plot.contains(">at this<"), "{plot}");
        assert!(plot.contains("E &lt;b&gt;") && !plot.contains("<b>"));
        assert_eq!(plot.matches("<polygon").count(), 1);
    }
}
