//! A pool whose queue is full answers 503 `QueueFull`, and HTTPERR says so.
//!
//! ```text
//! $ cargo run --example queue_full
//! the only worker is frozen; requests pile up, queueLength is 10
//! HTTPERR: 2026-11-22 18:00:00 127.0.0.1 40000 127.0.0.1 80 HTTP/1.1 GET /default.aspx - - 503 1 QueueFull DefaultAppPool TCP
//! some got 503: true, the others 200: true
//! ```

use std::process::ExitCode;

use iis_sim::live_world::story::tell;

const CONFIG: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="DefaultAppPool" queueLength="10" />
    </applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/" applicationPool="DefaultAppPool">
          <virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>"#;

fn main() -> ExitCode {
    tell(Some(CONFIG), |story| {
        story.get("/default.aspx")?;
        let worker = story.workers()?[0].pid;
        story.freeze(worker)?;
        story.say("the only worker is frozen; requests pile up, queueLength is 10");
        let requests: Result<Vec<_>, _> = (0..200)
            .map(|_| story.get_meanwhile("/default.aspx"))
            .collect();
        let refused = story.until_httperr("QueueFull")?;
        story.say(&format!("HTTPERR: {refused}"));
        story.thaw(worker)?;
        let pages = requests?
            .into_iter()
            .filter_map(|request| request.join().ok()?.ok());
        let statuses: Vec<u16> = pages.map(|page| page.status).collect();
        let count = |status| statuses.iter().filter(|s| **s == status).count();
        story.say(&format!(
            "some got 503: {}, the others 200: {}",
            count(503) > 0,
            count(200) > 0
        ));
        Ok(())
    })
}
