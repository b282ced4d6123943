//! What Slack's answers mean.

use hookmill_plugin::plain_code;
use hookmill_plugin::prelude::*;
use serde::Deserialize;

/// An incoming webhook: the status says the class, the body the reason in one word.
pub(crate) fn webhook(response: &Response) -> Verdict {
    match (response.status, response.code()) {
        // Whatever the body: Slack's own client once took an empty one for a failure and sent twice.
        (200..300, _) => Verdict::Delivered,
        (429, _) => response.retry(Scope::Endpoint),
        // A webhook that was removed or whose workspace or app was: no message will ever get there.
        (410, _)
        | (404 | 403, Some("no_service" | "no_active_hooks" | "no_team" | "team_disabled" | "no_service_id")) => {
            Verdict::Gone(reason("the webhook or its channel is no longer there; make a new one in Slack", response))
        }
        (403, Some("invalid_token")) => {
            Verdict::Rejected(reason("the webhook's URL is not right; copy it from Slack again", response))
        }
        (403, _) => Verdict::Rejected(reason("the workspace does not let this webhook post", response)),
        (404, _) => Verdict::Rejected(reason("the channel or webhook was not found", response)),
        // Seen with status 500 as well, and no retry ever helps it.
        (400 | 500, Some("missing_text_or_fallback_or_attachments")) | (400, _) => {
            Verdict::Rejected(reason("Slack does not accept the message; check the text and the blocks", response))
        }
        (408 | 425 | 500.., _) => response.retry(Scope::Endpoint),
        _ => Verdict::Rejected(reason("Slack refused the message", response)),
    }
}

fn reason(text: &str, response: &Response) -> String {
    match response.code() {
        Some(code) => format!("{text} ({} {code})", response.status),
        None => format!("{text} ({})", response.status),
    }
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
}

/// `chat.postMessage`: `ok` in the body, never the status alone.
pub(crate) fn post_message(response: &Response) -> Verdict {
    match response.status {
        200..300 => {}
        429 => return response.retry(Scope::Endpoint),
        408 | 425 | 500.. => return response.retry(Scope::Endpoint),
        status => return Verdict::Rejected(format!("Slack refused the request ({status})")),
    }
    let Ok(answer) = serde_json::from_str::<Answer>(&response.body) else {
        // A cut or strange body behind a 2xx: Slack has most likely posted it, and a second message
        // would be seen. Its own documents count a 2xx without a readable body as success.
        return Verdict::Delivered;
    };
    if answer.ok {
        return Verdict::Delivered;
    }
    let code = plain_code(&answer.error).unwrap_or("no code");
    match code {
        "ratelimited" | "rate_limited" => response.retry(Scope::Endpoint),
        "service_unavailable" | "internal_error" | "fatal_error" | "request_timeout" | "team_added_to_org" => {
            response.retry(Scope::Endpoint)
        }
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            Verdict::Rejected(format!("the token is not valid any more; enter a new one ({code})"))
        }
        "missing_scope" | "no_permission" | "ekm_access_denied" => Verdict::Rejected(format!(
            "the token may not post; give the app the scope chat:write and install it again ({code})"
        )),
        "channel_not_found" | "not_in_channel" => Verdict::Rejected(format!(
            "the bot cannot post to the channel; invite it there, and check the name ({code})"
        )),
        "is_archived" => Verdict::Rejected(format!("the channel is archived; choose another ({code})")),
        "no_text"
        | "msg_too_long"
        | "msg_blocks_too_long"
        | "invalid_blocks"
        | "invalid_blocks_format"
        | "too_many_attachments"
        | "attachment_payload_limit_exceeded"
        | "metadata_too_large" => {
            Verdict::Rejected(format!("Slack does not accept the message; check the text and the blocks ({code})"))
        }
        // The list of permanent codes is open; all that may pass are named above.
        _ => Verdict::Rejected(format!("Slack refused the message ({code})")),
    }
}
