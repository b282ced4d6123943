//! The OpenAPI 3.1 document, made from the table of routes and the types that are sent.

use axum::body::Bytes;
use axum::http::Method;
use utoipa::PartialSchema as _;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{
    ArrayBuilder, ComponentsBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder,
};

use super::api::EventShape;
use super::guard::Access;
use super::ingest::BatchReceipt;
use super::problem::{Kind, ProblemView};
use super::route::{Answer, Payload, Route, Schemas, Shape, Tag};

/// The document, as it is served and as the reference page reads it.
pub(super) struct Document {
    pub(super) json: Bytes,
    pub(super) value: serde_json::Value,
}

const ABOUT: &str = "Send events in, get signed webhooks out: filtered, reshaped and delivered, tenant by tenant. \
    Every refusal is an RFC 9457 problem whose `type` is a page on this gateway. Lists take `limit` (at most 200) and \
    `cursor`; a parameter that an operation does not have is refused. Times are RFC 3339 in UTC; durations in settings \
    are texts such as `\"30s\"`. Writes take an `Idempotency-Key`: for 24 hours the same key gets the same answer (kept \
    in memory, by this process alone).";

impl Document {
    pub(super) fn new(routes: &[Route]) -> Self {
        let api = build(routes);
        // The document is plain data with text keys.
        let value = serde_json::to_value(&api).unwrap_or_default();
        Self { json: serde_json::to_vec(&api).unwrap_or_default().into(), value }
    }
}

fn build(routes: &[Route]) -> OpenApi {
    let mut schemas: Schemas = vec![(ProblemView::name().into_owned(), ProblemView::schema())];
    ProblemView::schemas(&mut schemas);
    let mut paths = Paths::new();
    for route in routes {
        if let Some(method) = method(&route.method) {
            paths.add_path_operation(&route.path, vec![method], operation(route, &mut schemas));
        }
    }
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema));
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let tags = Tag::ALL.map(|tag| TagBuilder::new().name(tag.words().0).description(Some(tag.words().1)).build());
    let mut info = Info::new("Hookmill", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.security_scheme("key", key).build()))
        .tags(Some(tags))
        .build()
}

fn method(method: &Method) -> Option<HttpMethod> {
    Some(match *method {
        Method::GET => HttpMethod::Get,
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => return None,
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    let needs = match route.access {
        Access::Public => String::new(),
        access => format!("Needs {access}."),
    };
    let description = [route.about, &needs].join(" ").trim().to_owned();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id.clone()))
        .summary(Some(route.summary))
        .description(Some(description))
        .tag(route.tag.words().0)
        .request_body(route.payload.map(|payload| request_body(payload, schemas)));
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    if route.access != Access::Public {
        operation = operation.security(SecurityRequirement::new("key", Vec::<String>::new()));
    }
    let mut responses = ResponsesBuilder::new().response(route.status.as_str(), answer(route, schemas));
    if matches!(route.payload, Some(Payload::Component)) {
        let again = describe("The same bytes were uploaded before.", route.answer, schemas);
        responses = responses.response("200", again);
    }
    if route.is_hot {
        let again = describe("It was accepted before; `duplicate` is `true`.", route.answer, schemas);
        responses = responses.response("200", again);
    }
    for (status, kinds) in refusals(route) {
        responses = responses.response(status, problem(&kinds));
    }
    operation.responses(responses.build()).build()
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let text = || RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(Type::String).build()));
    let one = |name: &str, place: ParameterIn, required: Required, about: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(about))
            .schema(Some(text()))
            .build()
    };
    let mut parameters: Vec<Parameter> = placeholders(&route.path)
        .map(|name| {
            let about = match name {
                "tenant" => "`ten_…`, or `uid:…` with the operator's own id.",
                "event_type" => "The type; `/` is written `%2F`.",
                "subscription" => "`sub_…`, or `uid:…` with the client's own id.",
                _ => "",
            };
            one(name, ParameterIn::Path, Required::True, about)
        })
        .collect();
    if route.is_paged {
        parameters.push(one(
            "limit",
            ParameterIn::Query,
            Required::False,
            "Most items on a page: 1 to 200, 50 unless given.",
        ));
        parameters.push(one("cursor", ParameterIn::Query, Required::False, "`next` of the page before."));
    }
    parameters.extend(route.query.iter().map(|(name, about)| one(name, ParameterIn::Query, Required::False, about)));
    if route.conditional {
        parameters.push(one("If-Match", ParameterIn::Header, Required::False, "Only if the `ETag` is still this one."));
    }
    if route.remembers() || (route.is_hot && route.access != Access::Public) {
        let about = "1 to 256 characters; the same request with the same key is done once.";
        parameters.push(one("Idempotency-Key", ParameterIn::Header, Required::False, about));
    }
    parameters
}

/// The names in braces.
pub(super) fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn shape(shape: Shape, schemas: &mut Schemas) -> RefOr<Schema> {
    (shape.collect)(schemas);
    (shape.reference)()
}

fn any(about: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(about));
    RefOr::T(Schema::Object(object.build()))
}

fn request_body(payload: Payload, schemas: &mut Schemas) -> RequestBody {
    let content = |schema| ContentBuilder::new().schema(Some(schema)).build();
    let body = RequestBodyBuilder::new();
    match payload {
        Payload::Json(it) => {
            body.required(Some(Required::True)).content("application/json", content(shape(it, schemas)))
        }
        Payload::OptionalJson(it) => {
            body.required(Some(Required::False)).content("application/json", content(shape(it, schemas)))
        }
        Payload::Patch(it) => {
            // A merge patch may leave out what making it requires; the shape is for the fields' meaning.
            let fields = shape(it, schemas);
            let about = match fields {
                RefOr::Ref(Ref { ref_location, .. }) => format!("Any of the fields of `{ref_location}`, or `null`."),
                RefOr::T(_) => String::new(),
            };
            let object = ObjectBuilder::new().schema_type(Type::Object).description(Some(about)).build();
            let patch = || content(RefOr::T(Schema::Object(object.clone())));
            body.required(Some(Required::True))
                .content("application/merge-patch+json", patch())
                .content("application/json", patch())
        }
        Payload::Events => {
            let event = shape(Shape::of::<EventShape>(), schemas);
            let list = RefOr::T(Schema::Array(ArrayBuilder::new().items(event.clone()).build()));
            let either = utoipa::openapi::schema::OneOfBuilder::new().item(event.clone()).item(list);
            body.required(Some(Required::True))
                .content("application/json", content(RefOr::T(Schema::OneOf(either.build()))))
                .content("application/x-ndjson", content(any("One event a line.")))
                .content("application/cloudevents+json", content(any("A CloudEvent, structured.")))
                .content("application/cloudevents-batch+json", content(any("An array of CloudEvents.")))
        }
        Payload::Component => {
            let bytes = || {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            };
            let name = ObjectBuilder::new().schema_type(Type::String).description(Some("A name in place of its own."));
            let form = ObjectBuilder::new().property("name", name).property("component", bytes()).required("component");
            body.required(Some(Required::True))
                .content("application/wasm", content(RefOr::T(Schema::Object(bytes().build()))))
                .content("multipart/form-data", content(RefOr::T(Schema::Object(form.build()))))
        }
        Payload::Anything => body.required(Some(Required::False)).content("*/*", content(any("Anything."))),
    }
    .build()
}

fn answer(route: &Route, schemas: &mut Schemas) -> Response {
    if matches!(route.payload, Some(Payload::Events)) {
        let batch = shape(Shape::of::<BatchReceipt>(), schemas);
        let Answer::Json(single) = route.answer else { return describe(route.answer_about, route.answer, schemas) };
        let single = shape(single, schemas);
        let either = utoipa::openapi::schema::OneOfBuilder::new().item(single).item(batch).build();
        let content = ContentBuilder::new().schema(Some(RefOr::T(Schema::OneOf(either)))).build();
        return ResponseBuilder::new().description(route.answer_about).content("application/json", content).build();
    }
    describe(route.answer_about, route.answer, schemas)
}

fn describe(about: &str, answer: Answer, schemas: &mut Schemas) -> Response {
    let response = ResponseBuilder::new().description(about);
    let json = |schema| ContentBuilder::new().schema(Some(schema)).build();
    match answer {
        Answer::Nothing => response,
        Answer::Json(it) => response.content("application/json", json(shape(it, schemas))),
        Answer::List(it) => {
            let items = ArrayBuilder::new().items(shape(it, schemas)).build();
            let next = ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some("The `cursor` of the next page."));
            let page = ObjectBuilder::new()
                .property("data", Schema::Array(items))
                .property("next", next.build())
                .required("data")
                .required("next");
            response.content("application/json", json(RefOr::T(Schema::Object(page.build()))))
        }
        Answer::Text(content_type) => {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            response.content(content_type, json(RefOr::T(Schema::Object(text))))
        }
    }
    .build()
}

/// The problems that a route can answer with, by status.
fn refusals(route: &Route) -> Vec<(String, Vec<Kind>)> {
    let mut kinds = Vec::new();
    if route.access != Access::Public {
        kinds.extend([Kind::Unauthenticated, Kind::Forbidden]);
    }
    if placeholders(&route.path).next().is_some() {
        kinds.push(Kind::NotFound);
    }
    if route.payload.is_some() && !route.path.starts_with("/inbox/") {
        kinds.extend([
            Kind::Unparsable,
            Kind::BodyTooLarge,
            Kind::BodyTimeout,
            Kind::UnsupportedMediaType,
            Kind::Invalid,
        ]);
    }
    if route.access != Access::Public || !route.query.is_empty() {
        kinds.push(Kind::Invalid);
    }
    if route.conditional {
        kinds.push(Kind::PreconditionFailed);
    }
    if route.remembers() {
        kinds.extend([Kind::Conflict, Kind::LimitReached, Kind::RequestUnderWay, Kind::IdempotencyKeyReused]);
        kinds.extend([Kind::Overloaded, Kind::Unavailable]);
    }
    if matches!(route.payload, Some(Payload::Component)) {
        kinds.extend([
            Kind::PluginUnreadable,
            Kind::PluginTooLarge,
            Kind::PluginImports,
            Kind::PluginExports,
            Kind::PluginContract,
            Kind::PluginTooMuch,
            Kind::PluginDescribe,
            Kind::PluginManifest,
            Kind::PluginUncompilable,
            Kind::PluginNameReserved,
            Kind::PluginVersionTaken,
            Kind::PluginCompileBudget,
        ]);
        kinds.extend([Kind::LimitReached, Kind::Overloaded, Kind::Unavailable, Kind::DiskFull]);
    }
    if route.id.starts_with("delete_plugin") {
        kinds.extend([Kind::PluginInUse, Kind::PluginNameReserved, Kind::Invalid]);
    }
    let runs_plugins = ["preview_subscription", "test_subscription", "run_plugin", "run_delivery"];
    if runs_plugins.iter().any(|id| route.id.ends_with(id)) {
        kinds.push(Kind::PluginCpuBudget);
    }
    if route.is_hot {
        kinds.extend([Kind::DuplicateDiffers, Kind::RateLimited, Kind::Overloaded, Kind::Unavailable, Kind::DiskFull]);
        kinds.push(Kind::UnsupportedContentEncoding);
        match route.access {
            Access::Public => kinds.push(Kind::BadSignature),
            _ => kinds.extend([Kind::TooMany, Kind::IdempotencyKeyReused]),
        }
    }
    if route.path == "/readyz" {
        kinds.push(Kind::Unavailable);
    }
    kinds.push(Kind::Internal);
    let mut by_status: Vec<(String, Vec<Kind>)> = Vec::new();
    for kind in kinds {
        let status = kind.entry().status.as_str().to_owned();
        match by_status.iter_mut().find(|(other, _)| *other == status) {
            Some((_, kinds)) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => by_status.push((status, vec![kind])),
        }
    }
    by_status
}

fn problem(kinds: &[Kind]) -> Response {
    let titles: Vec<String> =
        kinds.iter().map(|kind| format!("{} (`/problems/{}`)", kind.entry().title, kind.entry().id)).collect();
    let schema = RefOr::Ref(Ref::from_schema_name(ProblemView::name()));
    ResponseBuilder::new()
        .description(format!("{}.", titles.join("; ")))
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build()
}
