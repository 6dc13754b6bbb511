using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <summary>Problems of the API itself.</summary>
internal static class ApiProblems
{
    private const string NothingChanged = "Nothing was changed.";

    public static readonly Problem Unauthorized = new(
        "api.unauthorized", "Not authorized", NothingChanged, "The request has no or not the right operator token.",
        "Send 'Authorization: Bearer TOKEN' with the text of the file operator-token in the server's data directory.");

    public static readonly Problem UnknownOutcome = new(
        "control.unknown-outcome", "The outcome is not known", "The command may have been carried out or not.",
        "The control plane did not answer in time, or its storage failed.", "Look with: pollux status. Then repeat the command if it did nothing.");

    public static readonly Problem TooManyWatchers = new(
        "api.watchers", "Too many watchers", "This one gets no events.", "The gateway streams to as many watchers as it can.",
        "Close others, or read GET /api/v1/status from time to time.");

    public static Problem Malformed(string why) => new(
        "api.malformed", "Request not understood", NothingChanged, why, "See the API's description: GET /openapi/v1.json.");

    public static Problem OfStatus(int status) => status switch
    {
        StatusCodes.Status404NotFound => new("api.no-such-address", "No such address", NothingChanged, "Nothing is served at this path.", "See: GET /openapi/v1.json."),
        StatusCodes.Status405MethodNotAllowed => new("api.method", "Method not allowed", NothingChanged, "This path has other methods.", "See: GET /openapi/v1.json."),
        StatusCodes.Status413PayloadTooLarge => new("api.too-large", "Request too large", NothingChanged, "The request is over the size limit.", "Send less."),
        StatusCodes.Status415UnsupportedMediaType => new("api.media-type", "Not JSON", NothingChanged, "The body is not application/json.", "Send 'Content-Type: application/json'."),
        _ => Malformed("The request is not one of this API."),
    };
}
