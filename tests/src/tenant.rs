//! A tenant of a gateway, with the calls that most tests make.

use serde_json::{Value, json};

use crate::{Client, Reply, eventually};

/// A tenant and its admin key.
pub struct Tenant {
    /// `ten_…`
    pub id: String,
    /// Calls with its first admin key.
    pub api: Client,
}

impl Tenant {
    /// Makes a subscription; gives it with its secret.
    pub async fn subscribe(&self, wanted: Value) -> Value {
        self.api.post("/v1/subscriptions", wanted).await.json(201)
    }

    /// Uploads a plugin.
    pub async fn upload(&self, bytes: Vec<u8>) -> Reply {
        self.api.send("POST", "/v1/plugins", &[("content-type", "application/wasm")], bytes).await
    }

    /// Uploads a plugin under a name.
    pub async fn upload_as(&self, name: &str, bytes: &[u8]) -> Reply {
        let head = format!(
            "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n--b\r\n\
             content-disposition: form-data; name=\"component\"; filename=\"a.wasm\"\r\n\r\n"
        );
        let body = [head.as_bytes(), bytes, b"\r\n--b--\r\n"].concat();
        self.api.send("POST", "/v1/plugins", &[("content-type", "multipart/form-data; boundary=b")], body).await
    }

    /// Posts an event; gives the receipt.
    pub async fn post(&self, event_type: &str, data: Value) -> Value {
        self.api.post("/v1/events", json!({"type": event_type, "data": data})).await.json(202)
    }

    /// Its deliveries that fit a query such as `"status=failed&event_id=evt_…"`, all pages.
    ///
    /// # Panics
    /// If they can't be read.
    pub async fn deliveries(&self, query: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut path = format!("/v1/deliveries?limit=200&{query}");
        loop {
            let mut page = self.api.get(&path).await.json(200);
            all.append(page["data"].as_array_mut().expect("a list has data"));
            match page["next"].as_str() {
                Some(next) => path = format!("/v1/deliveries?limit=200&{query}&cursor={next}"),
                None => return all,
            }
        }
    }

    /// Waits until the one delivery of an event is as wanted; gives it with its attempts.
    ///
    /// # Panics
    /// If it never is.
    pub async fn delivery(&self, event: &Value, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let id = event["id"].as_str().expect("a receipt has an id");
        let mut last = Value::Null;
        let waited_for = format!("the delivery of {id}: {what}");
        let found = eventually(&waited_for, async || {
            let found = self.deliveries(&format!("event_id={id}")).await.into_iter().next()?;
            if !wanted(&found) {
                if last != found {
                    eprintln!("not yet {what}: {found}");
                    last = found;
                }
                return None;
            }
            let id = found["id"].as_str()?;
            Some(self.api.get(&format!("/v1/deliveries/{id}")).await.json(200))
        });
        found.await
    }

    /// Waits until the one delivery of an event has this status; gives it with its attempts.
    pub async fn status(&self, event: &Value, status: &str) -> Value {
        self.delivery(event, status, |delivery| delivery["status"] == status).await
    }

    /// Waits until so many attempts at the one delivery of an event are written down.
    pub async fn attempts(&self, event: &Value, count: u64) -> Value {
        let what = format!("attempt {count} written down");
        self.delivery(event, &what, |delivery| delivery["attempt_count"] == count).await
    }

    /// A key of a role for it.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn key(&self, role: &str) -> Client {
        let made = self.api.post("/v1/keys", json!({"role": role, "name": role})).await.json(201);
        self.api.with_key(made["key"].as_str().expect("a made key is shown"))
    }
}
