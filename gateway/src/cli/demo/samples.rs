//! What is posted: the payloads of five products' own documents, spelled as they stand there.

/// One event.
pub(super) struct Sample {
    /// Whose document it is from.
    pub(super) product: &'static str,
    /// What happened, in a few words.
    pub(super) what: &'static str,
    /// The body of `POST /v1/events`, posted byte for byte.
    pub(super) event: &'static str,
}

/// All of them, in the order in which they are posted.
///
/// Loyali's and Unibo's data is printed in full in their documents, Ilara's too but for the amounts that its
/// filter example asks about. Intelligems names fields and no keys, LTVboost prints no payload: theirs are ours.
pub(super) const SAMPLES: [Sample; 11] = [
    Sample {
        product: "Ilara",
        what: "a purchase of 9.99 USD",
        event: r#"{"id":"evt_123abc","type":"event.purchase_complete","timestamp":"2025-01-25T14:30:00Z","data":{"player_id":"550e8400-e29b-41d4-a716-446655440000","external_id":"player_123","event_name":"purchase_complete","properties":{"product_id":"gem_pack_100","amount":9.99,"currency":"USD"}}}"#,
    },
    Sample {
        product: "Ilara",
        what: "a purchase of 50 USD",
        event: r#"{"id":"evt_124abc","type":"event.purchase_complete","timestamp":"2025-01-25T14:31:00Z","data":{"player_id":"550e8400-e29b-41d4-a716-446655440000","external_id":"player_123","event_name":"purchase_complete","properties":{"product_id":"gem_pack_900","amount":50,"currency":"USD"}}}"#,
    },
    Sample {
        product: "Ilara",
        what: "a purchase of 50 EUR",
        event: r#"{"id":"evt_125abc","type":"event.purchase_complete","timestamp":"2025-01-25T14:32:00Z","data":{"player_id":"550e8400-e29b-41d4-a716-446655440001","external_id":"player_124","event_name":"purchase_complete","properties":{"product_id":"gem_pack_900","amount":50,"currency":"EUR"}}}"#,
    },
    Sample {
        product: "Loyali",
        what: "a customer rises a tier",
        event: r#"{"id":"whd_xyz789","type":"tier.upgraded","timestamp":"2024-01-20T14:30:00Z","data":{"customer_id":"cust_abc123","customer_email":"alex@example.com","previous_tier":{"name":"Silver","id":"tier_silver"},"new_tier":{"name":"Gold","id":"tier_gold"}}}"#,
    },
    Sample {
        product: "Loyali",
        what: "a customer earns points",
        event: r#"{"id":"whd_xyz790","type":"points.earned","timestamp":"2024-01-20T14:30:05Z","data":{"customer_id":"cust_abc123","amount":150,"new_balance":2350,"reason":"Purchase - Order #12345"}}"#,
    },
    Sample {
        product: "Intelligems",
        what: "an experiment goes live",
        event: r#"{"id":"exp_8842-start","type":"experience.start","timestamp":"2025-03-02T09:15:00Z","data":{"action":"start","experience":{"id":"exp_8842","name":"Free shipping over $50 <b>","type":"shipping"},"timestamp":"2025-03-02T09:15:00Z","triggered_by":{"email":"dana@shop.example"}}}"#,
    },
    Sample {
        product: "LTVboost",
        what: "a quiz is answered",
        event: r#"{"id":"resp_501","type":"response.created","data":{"response_id":"resp_501","quiz_id":"quiz_skin_type","email":"sam@example.com","answers":[{"question":"Skin type","answer":"dry"}]}}"#,
    },
    Sample {
        product: "Unibo",
        what: "a cash prize is paid",
        event: r#"{"type":"PRIZE_PAYOUT_SUCCEEDED","data":{"campaign_id":"summer-campaign-2024","request_id":"550e8400-e29b-41d4-a716-446655440000","player_id":"player-abc123","player_currency":"USD","event_type":"PRIZE_PAYOUT_SUCCEEDED","status":"SUCCESS","prize_type":"cash","amount":100.5,"bonus_id":456}}"#,
    },
    Sample {
        product: "Unibo",
        what: "free spins are on their way",
        event: r#"{"type":"PRIZE_PAYOUT_CREATED","data":{"campaign_id":"slot-tournament-2024","request_id":"550e8400-e29b-41d4-a716-446655440001","player_id":"player-def456","player_currency":"EUR","event_type":"PRIZE_PAYOUT_CREATED","status":"TODO","prize_type":"free_spins","amount":50,"game_id":123,"bonus_id":789}}"#,
    },
    Sample {
        product: "Unibo",
        what: "a deposit bonus of 100.0 %",
        event: r#"{"type":"PRIZE_PAYOUT_CREATED","data":{"campaign_id":"deposit-match","request_id":"550e8400-e29b-41d4-a716-446655440003","player_id":"player-jkl012","player_currency":"USD","event_type":"PRIZE_PAYOUT_CREATED","status":"TODO","prize_type":"deposit_bonus","percentage_value":100.0,"bonus_id":202}}"#,
    },
    Sample {
        product: "Unibo",
        what: "a player opts in",
        event: r#"{"type":"PLAYER_OPTED_IN","data":{"player_id":"player-abc123","campaign_id":"summer-campaign-2024","event_type":"PLAYER_OPTED_IN"}}"#,
    },
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_sample_is_an_event() {
        for sample in SAMPLES {
            let event: Value = serde_json::from_str(sample.event).unwrap();
            assert!(event["type"].is_string() && event["data"].is_object(), "{}", sample.what);
        }
    }
}
