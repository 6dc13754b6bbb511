using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <summary>The checkers of a module; what hosts say of them is in the module's status.</summary>
internal static class CheckerEndpoints
{
    public static void Map(RouteGroupBuilder module)
    {
        module.MapPut("/checkers/{checker}", SetAsync)
            .WithSummary("Adds a checker, or changes the one of this name. The host that serves the module tests while its VM runs.").Produces<CheckerDocument>().Refuses();
        module.MapDelete("/checkers/{checker}", RemoveAsync).WithSummary("Removes a checker.").Produces(StatusCodes.Status204NoContent).Refuses();
    }

    internal static CheckerDocument ToDocument(Checker checker) => new(
        checker.Name, checker.Kind, checker.Target, checker.EveryMs, checker.TimeoutMs, checker.Failures, checker.GraceMs, checker.Then);

    private static async Task<IResult> SetAsync(string cluster, string module, string checker, CheckerDocument document, IGrainFactory grains)
    {
        if (ModuleEndpoints.Grain(cluster, module, grains) is not { } grain) return ModuleEndpoints.NoSuch(cluster, module);
        if (document.Name is { } name && name != checker)
            return ProblemResults.Of(ApiProblems.Malformed("The name of the checker is not the one in the address."), StatusCodes.Status400BadRequest);
        var wanted = new Checker(
            checker, document.Kind ?? "", document.Target ?? "", document.EveryMs ?? Checker.EveryMsDefault, document.TimeoutMs ?? Checker.TimeoutMsDefault,
            document.Failures ?? Checker.FailuresDefault, document.GraceMs ?? Checker.GraceMsDefault, document.Then ?? Checker.Restart);
        return (await grain.SetCheckerAsync(wanted)).Problem is { } problem ? ProblemResults.Of(problem) : Results.Ok(ToDocument(wanted));
    }

    private static async Task<IResult> RemoveAsync(string cluster, string module, string checker, IGrainFactory grains)
    {
        if (ModuleEndpoints.Grain(cluster, module, grains) is not { } grain) return ModuleEndpoints.NoSuch(cluster, module);
        return (await grain.RemoveCheckerAsync(checker)).Problem is { } problem ? ProblemResults.Of(problem) : Results.NoContent();
    }
}
