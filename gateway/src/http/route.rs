//! The table of routes: what answers where, whom it lets in, and what the document says of it.

use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::guard::{Access, Guard, guard};
use super::{Shared, api, docs, inbox, ingest, source, system};

/// A chapter of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tag {
    Ingest,
    Events,
    EventTypes,
    Subscriptions,
    Deliveries,
    Replays,
    Sources,
    Profiles,
    Plugins,
    Inboxes,
    Keys,
    Tenants,
    System,
}

impl Tag {
    pub(super) const ALL: [Self; 13] = [
        Self::Ingest,
        Self::Events,
        Self::EventTypes,
        Self::Subscriptions,
        Self::Deliveries,
        Self::Replays,
        Self::Sources,
        Self::Profiles,
        Self::Plugins,
        Self::Inboxes,
        Self::Keys,
        Self::Tenants,
        Self::System,
    ];

    /// Its heading and what it is about.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingest => ("Ingest", "Posting events."),
            Self::Events => ("Events", "What came in, and why it went where it went."),
            Self::EventTypes => ("Event types", "What events look like, and how many came in."),
            Self::Subscriptions => (
                "Subscriptions",
                "Which events are wanted, how they are changed, and where they go. The same operations answer at \
                 `/v1/webhooks` and `/v1/integrations/webhooks`.",
            ),
            Self::Deliveries => ("Deliveries", "What is owed, what was tried, and what came of it."),
            Self::Replays => ("Replays", "Events that came in before, sent again."),
            Self::Sources => ("Sources", "Products that post requests of their own kind."),
            Self::Profiles => (
                "Profiles",
                "Products that are known: how their requests are verified and read, how a delivery like theirs is made, \
                 and which events they have, with samples.",
            ),
            Self::Plugins => ("Plugins", "Transforms and connectors, and what they want to be told."),
            Self::Inboxes => ("Inboxes", "URLs on this gateway that take anything and show it, for trying things out."),
            Self::Keys => ("Keys", "Who may do what."),
            Self::Tenants => ("Tenants", "For the operator."),
            Self::System => ("System", "The gateway itself."),
        }
    }
}

pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// A schema by name, and a way to collect it with those it refers to.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) reference: fn() -> RefOr<Schema>,
    pub(super) collect: fn(&mut Schemas),
}

impl Shape {
    pub(super) fn of<T: ToSchema + PartialSchema>() -> Self {
        Self {
            reference: || RefOr::Ref(Ref::from_schema_name(T::name())),
            collect: |schemas| {
                schemas.push((T::name().into_owned(), T::schema()));
                T::schemas(schemas);
            },
        }
    }
}

/// What a route takes as its body.
#[derive(Clone, Copy)]
pub(super) enum Payload {
    Json(Shape),
    /// An object, or no body at all.
    OptionalJson(Shape),
    /// A merge patch of it.
    Patch(Shape),
    /// Events in any form.
    Events,
    /// A plugin, by itself or as a form.
    Component,
    /// Any bytes.
    Anything,
}

impl Payload {
    pub(super) fn json<T: ToSchema + PartialSchema>() -> Self {
        Self::Json(Shape::of::<T>())
    }

    pub(super) fn optional<T: ToSchema + PartialSchema>() -> Self {
        Self::OptionalJson(Shape::of::<T>())
    }

    pub(super) fn patch<T: ToSchema + PartialSchema>() -> Self {
        Self::Patch(Shape::of::<T>())
    }
}

/// What a route answers when all is well.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Nothing,
    Json(Shape),
    /// A page of these.
    List(Shape),
    /// A page, or text of this type.
    Text(&'static str),
}

/// One row of the table.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    pub(super) tag: Tag,
    pub(super) access: Access,
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Takes `limit` and `cursor`.
    pub(super) is_paged: bool,
    pub(super) payload: Option<Payload>,
    pub(super) status: StatusCode,
    pub(super) answer: Answer,
    pub(super) answer_about: &'static str,
    /// Takes `If-Match`.
    pub(super) conditional: bool,
    /// A write that is answered the same when it comes again, so that no key is needed for that.
    pub(super) is_repeatable: bool,
    /// An ingest route: deduplicates in the store, and has its own refusals.
    pub(super) is_hot: bool,
    handler: MethodRouter<Shared>,
}

impl Route {
    fn new<H: Handler<T, Shared>, T: 'static>(
        (method, filter): (Method, MethodFilter),
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self {
            method,
            path: path.to_owned(),
            id: id.to_owned(),
            summary,
            about: "",
            tag: Tag::System,
            access: Access::Anyone,
            query: &[],
            is_paged: false,
            payload: None,
            status: StatusCode::NO_CONTENT,
            answer: Answer::Nothing,
            answer_about: "Done.",
            conditional: false,
            is_repeatable: false,
            is_hot: false,
            handler: on(filter, handler),
        }
    }

    pub(super) fn get<H: Handler<T, Shared>, T: 'static>(
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new((Method::GET, MethodFilter::GET), path, id, summary, handler)
    }

    pub(super) fn post<H: Handler<T, Shared>, T: 'static>(
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new((Method::POST, MethodFilter::POST), path, id, summary, handler)
    }

    pub(super) fn put<H: Handler<T, Shared>, T: 'static>(
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new((Method::PUT, MethodFilter::PUT), path, id, summary, handler)
    }

    pub(super) fn patch<H: Handler<T, Shared>, T: 'static>(
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new((Method::PATCH, MethodFilter::PATCH), path, id, summary, handler)
    }

    pub(super) fn delete<H: Handler<T, Shared>, T: 'static>(
        path: &str,
        id: &str,
        summary: &'static str,
        handler: H,
    ) -> Self {
        Self::new((Method::DELETE, MethodFilter::DELETE), path, id, summary, handler)
    }

    pub(super) fn tag(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    pub(super) fn needs(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(super) fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    pub(super) fn takes(mut self, payload: Payload) -> Self {
        self.payload = Some(payload);
        self
    }

    pub(super) fn gives<T: ToSchema + PartialSchema>(mut self, status: StatusCode, about: &'static str) -> Self {
        (self.status, self.answer, self.answer_about) = (status, Answer::Json(Shape::of::<T>()), about);
        self
    }

    /// A list, page by page.
    pub(super) fn lists<T: ToSchema + PartialSchema>(self) -> Self {
        Self { answer_about: "A page.", is_paged: true, ..self.lists_all::<T>() }
    }

    /// A list that is short enough to be answered whole.
    pub(super) fn lists_all<T: ToSchema + PartialSchema>(mut self) -> Self {
        (self.status, self.answer, self.answer_about) = (StatusCode::OK, Answer::List(Shape::of::<T>()), "The list.");
        self
    }

    pub(super) fn shows(mut self, content_type: &'static str) -> Self {
        (self.status, self.answer, self.answer_about) = (StatusCode::OK, Answer::Text(content_type), "As it is.");
        self
    }

    pub(super) fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }

    pub(super) fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    pub(super) fn hot(mut self) -> Self {
        self.is_hot = true;
        self
    }

    /// Whether an `Idempotency-Key` is looked at by the guard.
    pub(super) fn remembers(&self) -> bool {
        self.writes() && self.access != Access::Public && !self.is_repeatable
    }

    /// Whether its handler reads the query, and says itself what it does not know there.
    fn is_asked(&self) -> bool {
        self.is_paged || !self.query.is_empty()
    }

    fn writes(&self) -> bool {
        self.method != Method::GET && !self.is_hot
    }

    /// The same operation at another path, with another name.
    fn at(&self, path: String, prefix: &str) -> Self {
        Self {
            method: self.method.clone(),
            path,
            id: format!("{prefix}_{}", self.id),
            handler: self.handler.clone(),
            ..*self
        }
    }

    /// What the router is given.
    pub(super) fn into_handler(self, app: &Shared) -> (String, MethodRouter<Shared>) {
        if self.access == Access::Public {
            return (self.path, self.handler);
        }
        let (is_asked, writes, remembers) = (self.is_asked(), self.writes(), self.remembers());
        let state = Guard { app: app.clone(), access: self.access, is_asked, writes, remembers };
        (self.path, self.handler.route_layer(from_fn_with_state(state, guard)))
    }
}

/// Where subscriptions also answer, and what their operations are called there.
const ALIASES: [(&str, &str); 2] = [("/v1/webhooks", "webhooks"), ("/v1/integrations/webhooks", "integrations")];

/// All routes, in the order of the reference.
pub(super) fn all() -> Vec<Route> {
    let mut routes = ingest::routes();
    routes.extend(source::routes());
    routes.extend(api::routes());
    routes.extend(inbox::routes());
    routes.extend(system::routes());
    routes.extend(docs::routes());
    let aliases: Vec<Route> = ALIASES
        .iter()
        .flat_map(|(base, name)| {
            routes.iter().filter_map(move |route| {
                let rest = route.path.strip_prefix("/v1/subscriptions")?;
                Some(route.at(format!("{base}{rest}"), name))
            })
        })
        .collect();
    routes.extend(aliases);
    routes
}
