//! Three instances behind a load balancer: whom one is connected to, one sees, and nothing else of it.

use dialogue_tests::RedisServer;
use tokio::process::Command;

use super::{
    Page, Result,
    example::Example,
    meet,
    page::{Browsers, eventually},
    say,
};

#[tokio::test]
async fn an_instance_that_is_killed_takes_nobody_and_nothing_with_it() -> Result<()> {
    let (browsers, redis) = (Browsers::start().await?, RedisServer::start().await?);
    let url = redis.url();
    let mut server = Example::start_with("cluster", &[("REDIS_URL", &url)]).await?;
    let (ada, ben) = meet(&browsers, &server.url(), &server.url()).await?;
    apart(&ada, &ben).await?;
    say(&ada, "I am on one of three.").await?;
    ben.says(&["I am on one of three."]).await?;
    say(&ben, "And I on another.").await?;
    ada.says(&["I am on one of three.", "And I on another."]).await?;
    ben.fits().await?;
    ada.counts(".instances i", 2).await?;
    ada.picture("cluster").await?;
    ben.picture("cluster-phone").await?;

    let killed = instance(&ada).await?;
    Command::new("kill").args(["-9", &killed]).status().await?;
    say(&ben, "Are you still there?").await?;
    ada.says(&["I am on one of three.", "And I on another.", "Are you still there?"]).await?;
    eventually("Ada is on another", async || Ok((instance(&ada).await? != killed).then_some(()))).await?;
    say(&ada, "I am, on another.").await?;
    ben.sees_after("message-text", "I am, on another.").await?;
    for page in [&ada, &ben] {
        page.counts("[data-testid=divider]", 0).await?;
        page.counts("[data-testid=pending] > *", 0).await?;
    }
    browsers.close([ada, ben]).await?;
    server.terminate().await
}

/// The process of the instance that a page is connected to.
async fn instance(page: &Page) -> Result<String> {
    let script = "return document.querySelector('[data-testid=own-instance]')?.dataset.process";
    eventually("the page knows its instance", async || {
        Ok(page.run(script).await?.as_str().map(str::to_owned))
    })
    .await
}

/// Has two pages be on two instances.
async fn apart(one: &Page, other: &Page) -> Result<()> {
    while instance(one).await? == instance(other).await? {
        other.reload().await?;
        other.shows("[data-testid=state][data-phase=live]").await?;
    }
    Ok(())
}
