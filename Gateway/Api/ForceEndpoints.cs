using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Api;

/// <summary>force-promote: first what would be lost, then the word.</summary>
internal static class ForceEndpoints
{
    public static void Map(RouteGroupBuilder module)
    {
        module.MapGet("/force-promote", PreviewAsync)
            .WithSummary("What would be lost if the copy of this host were declared to be the module. Changes nothing.")
            .Produces<ForcePreviewDocument>().Refuses();
        module.MapPost("/force-promote", ForceAsync)
            .WithSummary("Declares the copy of this host to be the module. The caller vouches that the other host is off, and gives up what this copy lacks.")
            .Produces(StatusCodes.Status202Accepted).Refuses();
    }

    private static async Task<IResult> PreviewAsync(string cluster, string module, string? host, IGrainFactory grains)
    {
        if (!GrainKey.TryParse(GrainKey.Of(cluster, module), out _, out _) || await Grain(cluster, module, grains).PreviewForceAsync(host ?? "") is not { } preview)
            return ProblemResults.Of(Problems.ModuleUnknown(GrainKey.Of(cluster, module)));
        return Results.Ok(new ForcePreviewDocument(
            GrainKey.NameOf(preview.Host), GrainKey.NameOf(preview.Other), preview.Epoch, preview.DataState, preview.LeftUnixMs, preview.LeftEpoch,
            preview.OtherSeenUnixMs, preview.OtherMarkedBytes, preview.WhyNot));
    }

    private static async Task<IResult> ForceAsync(string cluster, string module, ForcePromoteRequest request, IGrainFactory grains)
    {
        if (!GrainKey.TryParse(GrainKey.Of(cluster, module), out _, out _)) return ProblemResults.Of(Problems.ModuleUnknown(GrainKey.Of(cluster, module)));
        if (!request.OtherHostIsOff) return ProblemResults.Of(Problems.ForceWordMissing(GrainKey.Of(cluster, module)));
        return (await Grain(cluster, module, grains).ForceAsync(request.Host ?? "", request.Epoch)).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Accepted($"/api/v1/clusters/{cluster}/modules/{module}");
    }

    private static IMirrorModuleGrain Grain(string cluster, string module, IGrainFactory grains) =>
        grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(cluster, module));
}

/// <param name="Host">Whose copy would be the module.</param>
/// <param name="Other">The host that must be off for certain.</param>
/// <param name="Epoch">Of the record now; the request names it.</param>
/// <param name="DataState">Of the copy; null: the host says nothing.</param>
/// <param name="LeftUnixMs">Since when the copy may lack acknowledged writes; null: not known, or the host left by promise.</param>
/// <param name="OtherSeenUnixMs">When the other host was last heard by the control plane.</param>
/// <param name="OtherMarkedBytes">What it said last is missing on this copy, at most; null: not known.</param>
/// <param name="WhyNot">Why it cannot be done now.</param>
public sealed record ForcePreviewDocument(
    string Host, string Other, long Epoch, string? DataState, long? LeftUnixMs, long? LeftEpoch, long OtherSeenUnixMs, long? OtherMarkedBytes, Problem? WhyNot);

/// <param name="Epoch">As the preview shows it.</param>
/// <param name="OtherHostIsOff">The caller's word.</param>
public sealed record ForcePromoteRequest(string? Host, long Epoch, bool OtherHostIsOff);
