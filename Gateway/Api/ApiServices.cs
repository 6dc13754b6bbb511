using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;
using Pollux.Gateway.Authority;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <summary>What all API requests have in common: errors as problems, the operator's token, the description.</summary>
internal static class ApiServices
{
    private const string Bearer = "Bearer";

    public static void Add(IServiceCollection services)
    {
        services.AddProblemDetails();
        services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
        services.AddOpenApi("v1", openApi => openApi.AddDocumentTransformer((document, _, _) => Describe(document)));
    }

    public static void Use(WebApplication app)
    {
        app.UseExceptionHandler(handler => handler.Run(AnswerExceptionAsync));
        app.UseStatusCodePages(pages => ProblemOf(pages.HttpContext).ExecuteAsync(pages.HttpContext));
    }

    /// <summary>For every endpoint of the group: no right token, no request.</summary>
    public static RouteGroupBuilder RequireOperator(this RouteGroupBuilder group)
    {
        group.AddEndpointFilter(async (context, next) =>
        {
            var http = context.HttpContext;
            var header = http.Request.Headers.Authorization.ToString();
            var token = header.StartsWith(Bearer + " ", StringComparison.OrdinalIgnoreCase) ? header[(Bearer.Length + 1)..].Trim() : "";
            if (http.RequestServices.GetRequiredService<OperatorTokens>().NameOf(token) is { } name)
            {
                OperatorContext.Set(name);
                return await next(context);
            }
            http.Response.Headers.WWWAuthenticate = Bearer;
            return ProblemResults.Of(ApiProblems.Unauthorized, StatusCodes.Status401Unauthorized);
        });
        return group;
    }

    private static IResult ProblemOf(HttpContext http) =>
        ProblemResults.Of(ApiProblems.OfStatus(http.Response.StatusCode), http.Response.StatusCode);

    private static Task AnswerExceptionAsync(HttpContext http)
    {
        var exception = http.Features.Get<IExceptionHandlerFeature>()?.Error;
        var result = exception is BadHttpRequestException bad
            ? ProblemResults.Of(OfBadRequest(bad), bad.StatusCode)
            : ProblemResults.Of(ApiProblems.UnknownOutcome, StatusCodes.Status503ServiceUnavailable);
        return result.ExecuteAsync(http);
    }

    private static Problem OfBadRequest(BadHttpRequestException bad) =>
        bad.StatusCode == StatusCodes.Status400BadRequest ? ApiProblems.Malformed(bad.InnerException?.Message ?? bad.Message) : ApiProblems.OfStatus(bad.StatusCode);

    private static Task Describe(OpenApiDocument document)
    {
        document.Info = new OpenApiInfo
        {
            Title = "Pollux", Version = "v1",
            Description = "Synchronous mirroring and failover of virtual machines on host pairs. Errors are application/problem+json (RFC 9457) with code, impact and action.",
        };
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
        document.Components.SecuritySchemes[Bearer] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "The text of the file operator-token in the server's data directory.",
        };
        document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(Bearer, document)] = [] }];
        return Task.CompletedTask;
    }
}
