//! The plugins and connectors there are, and uploading one's own.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;

use super::views::{NamedPluginView, PluginView, UploadedView};
use crate::domain::{FieldError, Kind as PluginKind, Role};
use crate::http::Shared;
use crate::http::body::{self, answer, nothing};
use crate::http::guard::{Access, Caller};
use crate::http::params::{List, Segments};
use crate::http::problem::{Kind, Problem};
use crate::http::route::{Payload, Route, Tag};

/// What a form has around the component itself: boundaries, the parts' headers, the name.
const FORM: usize = 16 << 10;

/// The routes of this file.
pub(super) fn routes() -> Vec<Route> {
    let row = |route: Route| route.tag(Tag::Plugins).needs(Access::OperatorOrTenant(Role::Viewer));
    let write = |route: Route| route.tag(Tag::Plugins).needs(Access::Tenant(Role::Editor));
    vec![
        row(Route::get("/v1/connectors", "list_connectors", "List connectors", connectors))
            .about("The manifests of the connectors, with the schema of what each wants to be told.")
            .lists::<PluginView>(),
        row(Route::get("/v1/plugins", "list_plugins", "List plugins", plugins))
            .about("The presets, then the tenant's own with each version.")
            .lists::<PluginView>(),
        write(Route::post("/v1/plugins", "upload_plugin", "Upload a plugin", upload))
            .about(
                "A component, or a core module as `cargo build --target wasm32-unknown-unknown` makes it with the SDK: as \
                 the body, or as `component` of a form with a `name` in place of its own. It is compiled, held against the \
                 contract and asked what it is. A version never changes: the same bytes again answer `200`, other bytes \
                 are a 409. Subscriptions that follow the name (`name@latest`, `name@^1`) use it at once.",
            )
            .takes(Payload::Component)
            .gives::<UploadedView>(StatusCode::CREATED, "Taken.")
            .repeatable(),
        row(Route::get("/v1/plugins/{name}", "get_plugin", "Read a plugin", plugin))
            .gives::<NamedPluginView>(StatusCode::OK, "Its latest version, and what versions there are."),
        write(Route::delete("/v1/plugins/{name}", "delete_plugin", "Delete a plugin", delete))
            .about("All of its versions, if no subscription uses any."),
        row(Route::get("/v1/plugins/{name}/{version}", "get_plugin_version", "Read a version of a plugin", version))
            .about("The version is `1.2.0`, `latest`, `^1` or `sha256:…`.")
            .gives::<PluginView>(StatusCode::OK, "Its manifest."),
        write(Route::delete(
            "/v1/plugins/{name}/{version}",
            "delete_plugin_version",
            "Delete a version of a plugin",
            delete_version,
        ))
        .about("If no subscription uses it. The version is `1.2.0` or `sha256:…`."),
    ]
}

async fn connectors(State(app): State<Shared>, caller: Caller) -> Response {
    list(&app, caller, Some(PluginKind::Connector))
}

async fn plugins(State(app): State<Shared>, caller: Caller) -> Response {
    list(&app, caller, None)
}

fn list(app: &Shared, caller: Caller, kind: Option<PluginKind>) -> Response {
    let mut data: Vec<PluginView> =
        app.control.presets(kind).iter().map(|plugin| PluginView::from(&**plugin)).collect();
    let own = caller.0.tenant.map(|tenant| app.control.uploads(tenant)).unwrap_or_default();
    let wanted = own.iter().filter(|own| kind.is_none_or(|kind| own.version.manifest.kind == kind));
    data.extend(wanted.map(PluginView::from));
    // There are a few hundred at most: one page.
    answer(StatusCode::OK, &List { data, next: None })
}

async fn plugin(
    State(app): State<Shared>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let found = app.control.plugin(caller.0.tenant, &name, None)?;
    let own = caller.0.tenant.map(|tenant| app.control.uploads(tenant)).unwrap_or_default();
    Ok(answer(StatusCode::OK, &NamedPluginView::new(&found, &own)))
}

async fn version(
    State(app): State<Shared>,
    caller: Caller,
    Segments((name, version)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &PluginView::from(&app.control.plugin(caller.0.tenant, &name, Some(&version))?)))
}

async fn upload(State(app): State<Shared>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let tenant = caller.tenant()?;
    let (parts, stream) = request.into_parts();
    let form = Form::of(&parts.headers)?;
    let most = app.config.max_plugin;
    let with_form = if form == Form::None { most } else { most + FORM };
    let body = body::read_at_most(&app, Some(tenant), &parts.headers, stream, with_form).await;
    let body = body.map_err(|problem| match problem.kind() {
        Kind::BodyTooLarge => {
            Problem::new(Kind::PluginTooLarge, format!("the file is larger than the {most} bytes that are taken"))
        }
        _ => problem,
    })?;
    let (name, component) = match form {
        Form::None => (None, body),
        Form::Multipart(boundary) => fields(body, boundary).await?,
    };
    let uploaded = app.control.upload_plugin(tenant, name, component).await?;
    let view = UploadedView::from(&uploaded);
    if !uploaded.is_new {
        return Ok(answer(StatusCode::OK, &view));
    }
    let version = &uploaded.upload.version;
    let mut response = answer(StatusCode::CREATED, &view);
    if let Ok(location) = HeaderValue::try_from(format!("/v1/plugins/{}/{}", version.name, version.version())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// How a plugin comes.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// As the body.
    None,
    /// As a part of it, between these.
    Multipart(String),
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/wasm" => Ok(Self::None),
            "multipart/form-data" => multer::parse_boundary(text)
                .map(Self::Multipart)
                .map_err(|_| Problem::new(Kind::UnsupportedMediaType, "the form's content type names no `boundary`")),
            _ => Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("`{essence}` is not taken here; send `application/wasm`, or a form (`multipart/form-data`)"),
            )),
        }
    }
}

/// The fields of a form: the name, if there is one, and the component.
async fn fields(body: Bytes, boundary: String) -> Result<(Option<String>, Bytes), Problem> {
    let unreadable = |error: multer::Error| Problem::new(Kind::Unparsable, format!("the form can't be read: {error}"));
    let wrong = |pointer: &str, detail: &str| Problem::invalid(vec![FieldError::new(pointer, detail)]);
    let mut form = multer::Multipart::new(stream::iter([Ok::<_, std::io::Error>(body)]), boundary);
    let (mut name, mut component) = (None, None);
    while let Some(field) = form.next_field().await.map_err(unreadable)? {
        match field.name().unwrap_or_default() {
            "name" if name.is_none() => name = Some(field.text().await.map_err(unreadable)?),
            "component" if component.is_none() => component = Some(field.bytes().await.map_err(unreadable)?),
            twice @ ("name" | "component") => return Err(wrong(&format!("/{twice}"), "it is there twice")),
            other => {
                return Err(wrong(&format!("/{other}"), "there is no such field; there are `name` and `component`"));
            }
        }
    }
    Ok((name, component.ok_or_else(|| wrong("/component", "the form has no `component`"))?))
}

async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    app.control.delete_plugin(caller.tenant()?, &name, None).await?;
    Ok(nothing())
}

async fn delete_version(
    State(app): State<Shared>,
    caller: Caller,
    Segments((name, version)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    app.control.delete_plugin(caller.tenant()?, &name, Some(&version)).await?;
    Ok(nothing())
}
