//! `info`: where the deployment stands, once or again and again.

use crate::cli::Globals;
use crate::deployment::Deployment;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::{Looks, News};
use crate::output::{Printer, redraw, stdout_is_terminal};
use crate::text;
use crate::text::time_of_day;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const REDRAW: Duration = Duration::from_secs(1);
/// Lines are written as they become true; this often is looked for them.
const POLL: Duration = Duration::from_millis(200);

pub async fn run(globals: &Globals, printer: &Printer, watch: bool) -> Result<ExitCode, Failure> {
    if !watch {
        let info = Deployment::find(globals).await?.info().await?;
        printer.result(|| text::info(&info, now_ms()), &info);
        return Ok(ExitCode::Ok);
    }
    let mut looks = Looks::at(globals);
    if stdout_is_terminal() && !printer.json {
        loop {
            match looks.next().await? {
                Some(info) => redraw(&text::info(&info, now_ms())),
                None => redraw("the deployment does not answer at the moment"),
            }
            tokio::time::sleep(REDRAW).await;
        }
    }
    let mut news = News::default();
    loop {
        if let Some(info) = looks.next().await?
            && let Some(line) = news.line(&info)
        {
            printer.line(&format!("{} {line}", time_of_day(now_ms())), &info);
        }
        tokio::time::sleep(POLL).await;
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
