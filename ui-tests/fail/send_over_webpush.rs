#[dialogue::event(push(title = "Down", body = "Look!"))]
pub struct Alert {
    pub host: String,
}

dialogue::rooms! {
    alerts: [Alert] via [webpush, sse];
}

pub async fn send(alerts: AlertsClient) {
    let _ = alerts.send(Alert { host: "db".into() }).await;
}

fn main() {}
