//! Serves the support desk; the library beside it says how to try it.

use std::{env, io, path::PathBuf};

use support::app::{self, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let (server, routes) = app::open(settings()?).await?;
    let listening = server.listen(env::var("ADDR").as_deref().unwrap_or("127.0.0.1:3000")).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(routes).await?;
    Ok(())
}

fn settings() -> Result<Settings, Box<dyn std::error::Error>> {
    let jwt_secret = match env::var("JWT_SECRET") {
        Ok(secret) => secret.into_bytes(),
        Err(_) => {
            eprintln!("JWT_SECRET isn't set: tokens are good until this process ends");
            let mut secret = vec![0; 32];
            getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
            secret
        }
    };
    let data = env::var_os("DATA").map_or_else(|| env::temp_dir().join("support-desk"), PathBuf::from);
    let prefixes = env::var("SECRET_PREFIXES").unwrap_or_else(|_| "sk_live_,ghp_,AKIA".into());
    let secret_prefixes =
        prefixes.split(',').filter(|prefix| !prefix.is_empty()).map(str::to_owned).collect();
    Ok(Settings { data, jwt_secret, secret_prefixes })
}
