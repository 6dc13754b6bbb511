using Pollux.Gateway.Authority;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Api;

/// <summary>The operators' API, version 1.</summary>
internal static class ApiEndpoints
{
    public static void Map(WebApplication app)
    {
        app.MapOpenApi("/openapi/{documentName}.json");
        app.MapGet("/healthz", HealthAsync).WithSummary("Whether the gateway reaches its grains and their storage.").Produces<HealthDocument>();

        var api = app.MapGroup("/api/v1").RequireOperator();
        api.MapGet("/clusters", ListClustersAsync).WithSummary("Names of all clusters.").Produces<ClusterListDocument>();
        api.MapPost("/clusters", CreateClusterAsync).WithSummary("Creates a cluster.")
            .Produces<ClusterDocument>(StatusCodes.Status201Created).Refuses();
        api.MapGet("/clusters/{cluster}", ReadClusterAsync).WithSummary("A cluster.").Produces<ClusterDocument>().Refuses();
        api.MapPost("/clusters/{cluster}/hosts", AddHostAsync).WithSummary("Adds a host and issues its one-time join token.")
            .Produces<HostTokenDocument>(StatusCodes.Status201Created).Refuses();
        api.MapPost("/clusters/{cluster}/hosts/{host}/token", IssueTokenAsync)
            .WithSummary("Issues a new one-time join token; an unused older one is void.").Produces<HostTokenDocument>().Refuses();
        api.MapGet("/status", StatusAsync).WithSummary("Everything at a glance; of one cluster with ?cluster=NAME.").Produces<StatusDocument>().Refuses();
        api.MapGet("/watch", WatchEndpoint.Watch).WithSummary("Status as server-sent events: one now, one after each change; of one cluster with ?cluster=NAME.")
            .Produces<StatusDocument>(contentType: "text/event-stream");
        ModuleEndpoints.Map(api);
    }

    /// <summary>Describes the answer to everything that cannot be done.</summary>
    public static RouteHandlerBuilder Refuses(this RouteHandlerBuilder endpoint) =>
        endpoint.ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict);

    private static async Task<IResult> HealthAsync(IGrainFactory grains)
    {
        await grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync();
        return Results.Ok(new HealthDocument("ok"));
    }

    private static async Task<IResult> ListClustersAsync(IGrainFactory grains) =>
        Results.Ok(new ClusterListDocument(await grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync()));

    private static async Task<IResult> CreateClusterAsync(CreateClusterRequest request, IGrainFactory grains)
    {
        if (GrainKey.Check("cluster", request.Name) is { } badName) return ProblemResults.Of(badName);
        if (LinkText.Parse(request.Link ?? LinkText.Tls) is not { } link) return ProblemResults.Of(Problems.BadLink(request.Link!));
        var policy = new ClusterPolicy(
            request.DetectionMs ?? ClusterPolicy.DetectionMsDefault, request.ModulesMax ?? ClusterPolicy.ModulesMaxDefault, link);
        var cluster = grains.GetGrain<IClusterGrain>(request.Name);
        if ((await cluster.CreateAsync(policy)).Problem is { } problem) return ProblemResults.Of(problem);
        return Results.Created($"/api/v1/clusters/{request.Name}", Document((await cluster.ReadAsync())!));
    }

    private static async Task<IResult> ReadClusterAsync(string cluster, IGrainFactory grains) =>
        GrainKey.IsName(cluster) && await grains.GetGrain<IClusterGrain>(cluster).ReadAsync() is { } view
            ? Results.Ok(Document(view))
            : ProblemResults.Of(Problems.ClusterUnknown(cluster));

    private static async Task<IResult> AddHostAsync(string cluster, AddHostRequest request, IGrainFactory grains, CertificateAuthority authority)
    {
        if (!GrainKey.IsName(cluster)) return ProblemResults.Of(Problems.ClusterUnknown(cluster));
        var issued = await grains.GetGrain<IClusterGrain>(cluster).AddHostAsync(request.Name ?? "");
        if (issued.Problem is { } problem) return ProblemResults.Of(problem);
        return Results.Created($"/api/v1/clusters/{cluster}", Document(GrainKey.Of(cluster, request.Name!), issued, authority));
    }

    private static async Task<IResult> IssueTokenAsync(string cluster, string host, IGrainFactory grains, CertificateAuthority authority)
    {
        var key = GrainKey.Of(cluster, host);
        if (!GrainKey.TryParse(key, out _, out _)) return ProblemResults.Of(Problems.HostUnknown(key));
        var issued = await grains.GetGrain<IHostGrain>(key).IssueTokenAsync();
        return issued.Problem is { } problem ? ProblemResults.Of(problem) : Results.Ok(Document(key, issued, authority));
    }

    private static async Task<IResult> StatusAsync(string? cluster, StatusReader status) =>
        (cluster is null || GrainKey.IsName(cluster)) && await status.ReadAsync(cluster) is { } document
            ? Results.Ok(document)
            : ProblemResults.Of(Problems.ClusterUnknown(cluster!));

    private static ClusterDocument Document(ClusterView view) => new(
        view.Name, view.Policy.DetectionMs, view.Policy.ModulesMax, view.Hosts,
        [.. view.Modules.Select(module => new ClusterModuleDocument(module.Module, module.Directory, module.Domain, module.Directories))],
        LinkText.Of(view.Policy.Link));

    private static HostTokenDocument Document(string host, JoinTokenIssued issued, CertificateAuthority authority) =>
        new(host, JoinEndpoint.ComposeToken(host, issued.Secret!, authority), issued.ExpiresUnixMs);
}
