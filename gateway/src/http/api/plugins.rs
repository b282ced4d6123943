//! The plugins and connectors there are, and uploading one's own.

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use semver::Version;

use super::views::{NamedPluginView, PluginView, UploadedView};
use crate::domain::{FieldError, Kind as PluginKind, Role};
use crate::http::Shared;
use crate::http::body::{self, answer, nothing};
use crate::http::guard::{Access, Caller};
use crate::http::params::{Cursor, Paging, Params, Segments, list};
use crate::http::problem::{Kind, Problem};
use crate::http::route::{Payload, Route, Tag};
use crate::registry::Found;

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

/// Where a version stands in a list, and the cursor of what follows it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Whether it is the tenant's: the presets come first.
    is_own: bool,
    name: String,
    order: Option<Version>,
    version: String,
}

impl Place {
    fn new(is_own: bool, name: &str, version: &str) -> Self {
        Self { is_own, name: name.to_owned(), order: Version::parse(version).ok(), version: version.to_owned() }
    }

    fn of(found: &Found) -> Self {
        match found {
            Found::Preset(plugin) => Self::new(false, &plugin.manifest().name, &plugin.manifest().version),
            Found::Own(upload) => Self::new(true, &upload.version.name, upload.version.version()),
        }
    }
}

impl Cursor for Place {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("p{}{}@{}", u8::from(self.is_own), self.name, self.version))
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = std::str::from_utf8(&bytes).ok()?.strip_prefix('p')?;
        let (is_own, reference) = match text.strip_prefix('0') {
            Some(reference) => (false, reference),
            None => (true, text.strip_prefix('1')?),
        };
        let (name, version) = reference.split_once('@')?;
        Some(Self::new(is_own, name, version))
    }
}

async fn connectors(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    page(&app, caller, Some(PluginKind::Connector), &paging).await
}

async fn plugins(
    State(app): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    page(&app, caller, None, &paging).await
}

async fn page(app: &Shared, caller: Caller, kind: Option<PluginKind>, paging: &Paging) -> Result<Response, Problem> {
    let own = caller.0.tenant.map(|tenant| app.control.uploads(tenant)).unwrap_or_default();
    let own = own.into_iter().filter(|own| kind.is_none_or(|kind| own.version.manifest.kind == kind));
    let presets = app.control.presets(kind).into_iter().map(Found::Preset);
    let mut all: Vec<Found> = presets.chain(own.map(Found::Own)).collect();
    all.sort_by_cached_key(Place::of);
    list(all, paging.read()?, Place::of, |found| PluginView::from(found)).await
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
            other => {
                let wrong = match other {
                    "" => "the content type is missing".to_owned(),
                    other => format!("`{other}` is not taken here"),
                };
                let detail = format!("{wrong}; send `application/wasm`, or a form (`multipart/form-data`)");
                Err(Problem::new(Kind::UnsupportedMediaType, detail))
            }
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
