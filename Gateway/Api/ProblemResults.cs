using Microsoft.AspNetCore.Mvc;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <summary>Problems as RFC 9457 <c>application/problem+json</c>, with <c>code</c>, <c>impact</c> and <c>action</c> beside the standard members.</summary>
internal static class ProblemResults
{
    /// <summary>With the status that belongs to the code.</summary>
    public static IResult Of(Problem problem) => Of(problem, StatusOf(problem.Code));

    public static IResult Of(Problem problem, int status) => Results.Problem(Details(problem, status));

    public static ProblemDetails Details(Problem problem, int status) => new()
    {
        Type = "urn:pollux:problem:" + problem.Code,
        Title = problem.Title,
        Status = status,
        Detail = problem.Cause,
        Extensions = { ["code"] = problem.Code, ["impact"] = problem.Impact, ["action"] = problem.Action },
    };

    private static int StatusOf(string code) => code switch
    {
        "cluster.unknown" or "host.unknown" or "module.unknown" or "checker.unknown" => StatusCodes.Status404NotFound,
        "name.invalid" or "cluster.detection" or "cluster.modules-max" or "cluster.link" or "module.directory-invalid" or "module.directories-max"
            or "module.directories-overlap" or "module.vm-invalid" or "module.definition-invalid" or "verify.limit" or "resync.limits"
            or "policy.range" or "checker.range" or "checker.target" or "checker.word" or "policy.preferred" or "place.foreign" => StatusCodes.Status400BadRequest,
        _ => StatusCodes.Status409Conflict,
    };
}
