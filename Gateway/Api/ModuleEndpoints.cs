using System.Collections.Immutable;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Api;

/// <summary>Mirror modules: created when both hosts accept, started, stopped, swapped, deleted.</summary>
internal static class ModuleEndpoints
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>The module grain ends a creation by itself before this.</summary>
    private static readonly TimeSpan CreationMax = TimeSpan.FromMilliseconds(ModuleCreation.DeadlineMs) + TimeSpan.FromSeconds(5);

    public static void Map(RouteGroupBuilder api)
    {
        api.MapPost("/clusters/{cluster}/modules", CreateAsync)
            .WithSummary("Creates a module from its directories. Answers when both hosts accepted it, or one refused and nothing was changed.")
            .Produces<ModuleDocument>(StatusCodes.Status201Created).Refuses();
        var module = api.MapGroup("/clusters/{cluster}/modules/{module}");
        module.MapGet("", ReadAsync).WithSummary("A module with its history and what both hosts say.").Produces<ModuleDocument>().Refuses();
        module.MapDelete("", DeleteAsync).WithSummary("Forgets a stopped module; the data stays on both hosts.").Produces(StatusCodes.Status204NoContent).Refuses();
        module.MapPost("/start", (string cluster, string module, IGrainFactory grains) => SetRunAsync(cluster, module, true, grains))
            .WithSummary("Wants the module to run. Status shows how far it is.").Produces(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/stop", (string cluster, string module, IGrainFactory grains) => SetRunAsync(cluster, module, false, grains))
            .WithSummary("Wants the module stopped. Status shows how far it is.").Produces(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/restart", (string cluster, string module, CommandRequest? request, IGrainFactory grains) =>
                CommandAsync(cluster, module, request, grains, (grain, operation) => grain.RestartAsync(operation)))
            .WithSummary("Ends the VM in order and starts it again on the same host. Its end stands in the module under the operation id.")
            .Produces<CommandAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/stopstart", (string cluster, string module, CommandRequest? request, IGrainFactory grains) =>
                CommandAsync(cluster, module, request, grains, (grain, operation) => grain.StopStartAsync(operation)))
            .WithSummary("Stops the module on both hosts and starts it again. When both have stopped, the end stands in the module under the operation id.")
            .Produces<CommandAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/swap", (string cluster, string module, CommandRequest? request, IGrainFactory grains) =>
                CommandAsync(cluster, module, request, grains, (grain, operation) => grain.SwapAsync(operation)))
            .WithSummary("Moves the primary to the other host. Its end stands in the module under the operation id.")
            .Produces<CommandAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/prim", (string cluster, string module, PlaceRequest request, IGrainFactory grains) => PlaceAsync(cluster, module, request, asPrimary: true, grains))
            .WithSummary("Wants the primary on this host: a swap, or a start that is left to this host. Refused if acknowledged writes are missing there.")
            .Produces<PlaceAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/second", (string cluster, string module, PlaceRequest request, IGrainFactory grains) => PlaceAsync(cluster, module, request, asPrimary: false, grains))
            .WithSummary("Wants this host as the secondary: the same, for the other host.")
            .Produces<PlaceAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/full-resync", (string cluster, string module, CommandRequest? request, IGrainFactory grains) =>
                CommandAsync(cluster, module, request, grains, (grain, operation) => grain.FullResyncAsync(operation)))
            .WithSummary("Takes the secondary out of the in-sync set and has it compared and resynced as a whole; the VM runs on. Its end, when that is certain to follow, stands in the module.")
            .Produces<CommandAccepted>(StatusCodes.Status202Accepted).Refuses();
        ForceEndpoints.Map(module);
        CheckerEndpoints.Map(module);
        module.MapPut("/policy", SetPolicyAsync)
            .WithSummary("Sets failover, start at boot, checkers, limit of restarts, start priority, preferred primary; what is left out stays as it is.").Produces<PolicyDocument>().Refuses();
        module.MapPost("/verify", VerifyAsync)
            .WithSummary("Compares both copies while the module runs; repairs what differs on request, from the primary to the secondary. Progress and outcome stand in the module.")
            .Produces<CommandAccepted>(StatusCodes.Status202Accepted).Refuses();
        module.MapDelete("/verify", StopVerifyAsync).WithSummary("Ends the verify that runs.").Produces(StatusCodes.Status202Accepted).Refuses();
        module.MapPost("/confirm-record", ConfirmRecordAsync)
            .WithSummary("After a restore of the control plane: an operator's word on a record that only one host has reported, or none.")
            .Produces(StatusCodes.Status202Accepted).Refuses();
        module.MapPut("/resync-limits", SetResyncLimitsAsync)
            .WithSummary("Sets how fast resyncs of the module may be; takes effect at once, also on one that runs.").Produces<ResyncLimitsDocument>().Refuses();
    }

    private static async Task<IResult> CreateAsync(
        string cluster, CreateModuleRequest request, IGrainFactory grains, StatusReader status, TimeProvider time, CancellationToken cancel)
    {
        if (!GrainKey.IsName(cluster)) return ProblemResults.Of(Problems.ClusterUnknown(cluster));
        if (GrainKey.Check("module", request.Name) is { } badName) return ProblemResults.Of(badName);
        if (request.Vm is null && request.Definition is not null)
            return ProblemResults.Of(ApiProblems.Malformed("A definition was given without a VM."), StatusCodes.Status400BadRequest);
        ImmutableArray<string> directories = request.Directories is { IsDefaultOrEmpty: false } several ? several : [request.Directory ?? ""];
        if (request.Directory is { } single && (directories.Length > 1 || directories[0] != single))
            return ProblemResults.Of(ApiProblems.Malformed("Both a directory and directories were given."), StatusCodes.Status400BadRequest);
        if (directories.Any(directory => directory is null))
            return ProblemResults.Of(ApiProblems.Malformed("A directory has no name."), StatusCodes.Status400BadRequest);
        var spec = new ModuleSpec(
            directories[0], request.Primary ?? "",
            request.Vm is { } domain ? new VmDefinition(domain, request.Definition ?? domain + ".xml") : null)
        {
            FurtherDirectories = directories[1..],
        };
        var grain = grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(cluster, request.Name));
        var operation = request.OperationId ?? Guid.NewGuid();
        if ((await grain.CreateAsync(spec, operation)).Problem is { } problem) return ProblemResults.Of(problem);

        var started = time.GetTimestamp();
        while (time.GetElapsedTime(started) < CreationMax)
        {
            var creation = (await grain.ReadAsync()).Creation;
            // Another id, or none: it was rolled back, and its end forgotten with a restart of the server.
            if (creation?.OperationId != operation) break;
            if (creation is { Ended: true, Problem: { } refused }) return ProblemResults.Of(refused);
            if (creation.Ended)
                return Results.Created($"/api/v1/clusters/{cluster}/modules/{request.Name}", await status.ReadModuleAsync(cluster, request.Name));
            await Task.Delay(LookEvery, time, cancel);
        }
        return ProblemResults.Of(ApiProblems.UnknownOutcome, StatusCodes.Status503ServiceUnavailable);
    }

    private static async Task<IResult> ReadAsync(string cluster, string module, StatusReader status) =>
        GrainKey.TryParse(GrainKey.Of(cluster, module), out _, out _) && await status.ReadModuleAsync(cluster, module) is { } document
            ? Results.Ok(document)
            : ProblemResults.Of(Problems.ModuleUnknown(GrainKey.Of(cluster, module)));

    private static async Task<IResult> DeleteAsync(string cluster, string module, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        return (await grain.DeleteAsync()).Problem is { } problem ? ProblemResults.Of(problem) : Results.NoContent();
    }

    private static async Task<IResult> SetRunAsync(string cluster, string module, bool run, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        return (await grain.SetRunAsync(run)).Problem is { } problem ? ProblemResults.Of(problem) : Results.Accepted();
    }

    private static async Task<IResult> CommandAsync(
        string cluster, string module, CommandRequest? request, IGrainFactory grains, Func<IMirrorModuleGrain, Guid, Task<Outcome>> begin)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        var operation = request?.OperationId ?? Guid.NewGuid();
        return (await begin(grain, operation)).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Accepted($"/api/v1/clusters/{cluster}/modules/{module}", new CommandAccepted(operation));
    }

    private static async Task<IResult> VerifyAsync(string cluster, string module, VerifyRequest? request, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        var operation = request?.OperationId ?? Guid.NewGuid();
        return (await grain.VerifyAsync(operation, request?.Repair ?? false, request?.BytesPerSecondMax ?? 0)).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Accepted($"/api/v1/clusters/{cluster}/modules/{module}", new CommandAccepted(operation));
    }

    private static async Task<IResult> StopVerifyAsync(string cluster, string module, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        return (await grain.StopVerifyAsync()).Problem is { } problem ? ProblemResults.Of(problem) : Results.Accepted();
    }

    private static async Task<IResult> SetResyncLimitsAsync(string cluster, string module, ResyncLimitsDocument limits, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        return (await grain.SetResyncLimitsAsync(new ResyncPolicy(limits.BytesPerSecondMin, limits.BytesPerSecondMax))).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Ok(limits);
    }

    private static async Task<IResult> ConfirmRecordAsync(string cluster, string module, ConfirmRecordRequest request, IGrainFactory grains)
    {
        if (!GrainKey.TryParse(GrainKey.Of(cluster, module), out _, out _)) return NoSuch(cluster, module);
        if (request.Forget == (request.Host is not null))
            return ProblemResults.Of(ApiProblems.Malformed("Either a host with its epoch is named, or the module is to be forgotten."), StatusCodes.Status400BadRequest);
        if (request.Host is { } host && !GrainKey.IsName(host)) return ProblemResults.Of(Problems.HostUnknown(GrainKey.Of(cluster, host)));
        return (await grains.GetGrain<IClusterGrain>(cluster).ConfirmRecordAsync(module, request.Host, request.Epoch)).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Accepted();
    }

    private static async Task<IResult> PlaceAsync(string cluster, string module, PlaceRequest request, bool asPrimary, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        var hosts = (await grain.ReadAsync()).Hosts.Select(GrainKey.NameOf).ToArray();
        var named = request.Host ?? "";
        // Of a host that is none of the two, the grain says so.
        var primary = asPrimary || !hosts.Contains(named) ? named : hosts.First(host => host != named);
        var operation = request.OperationId ?? Guid.NewGuid();
        var placement = await grain.PlaceAsync(operation, primary);
        return placement.Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Accepted($"/api/v1/clusters/{cluster}/modules/{module}", new PlaceAccepted(operation, placement.Begun));
    }

    private static async Task<IResult> SetPolicyAsync(string cluster, string module, PolicyDocument policy, IGrainFactory grains)
    {
        if (Grain(cluster, module, grains) is not { } grain) return NoSuch(cluster, module);
        var change = new PolicyChange(
            !policy.Failover, !policy.StartAtBoot, policy.Restarts, policy.RestartWindowMs, policy.StartPriority, policy.Preferred, policy.FailbackHoldMs, !policy.Checkers);
        return (await grain.SetPolicyAsync(change)).Problem is { } problem
            ? ProblemResults.Of(problem)
            : Results.Ok(StatusReader.Policy((await grain.ReadAsync()).Spec!.PolicyInForce));
    }

    internal static IMirrorModuleGrain? Grain(string cluster, string module, IGrainFactory grains) =>
        GrainKey.TryParse(GrainKey.Of(cluster, module), out _, out _) ? grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(cluster, module)) : null;

    internal static IResult NoSuch(string cluster, string module) => ProblemResults.Of(Problems.ModuleUnknown(GrainKey.Of(cluster, module)));
}
