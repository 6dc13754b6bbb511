using System.CommandLine;
using System.Text.Json;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Server;

namespace Pollux.Gateway.Commands;

/// <summary>The program <c>pollux</c>: operators' commands and the server. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.</summary>
public static class PolluxCommandLine
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;

    internal static readonly Option<Uri> Server = new("--server")
    {
        Description = "The server's address [$POLLUX_SERVER].", Recursive = true, HelpName = "URL",
        DefaultValueFactory = _ => new Uri(FromEnvironment("POLLUX_SERVER", $"https://localhost:{ServerOptions.PortDefault}")),
    };

    internal static readonly Option<string> TokenFile = new("--token-file")
    {
        Description = "File with the operator token [$POLLUX_TOKEN_FILE].", Recursive = true, HelpName = "FILE",
        DefaultValueFactory = _ => FromEnvironment("POLLUX_TOKEN_FILE", Path.Combine(ServerOptions.DataDirectoryDefault, OperatorToken.FileName)),
    };

    internal static readonly Option<string> CaFile = new("--ca-file")
    {
        Description = "The authority's certificate [$POLLUX_CA_FILE].", Recursive = true, HelpName = "FILE",
        DefaultValueFactory = _ => FromEnvironment("POLLUX_CA_FILE", Path.Combine(ServerOptions.DataDirectoryDefault, CertificateAuthority.CertificateFile)),
    };

    internal static readonly Option<bool> AsJson = new("--json") { Description = "Print JSON.", Recursive = true };

    public static async Task<int> RunAsync(string[] args)
    {
        var root = new RootCommand("Pollux keeps virtual machines alive on pairs of hosts.") { Server, TokenFile, CaFile, AsJson };
        ServerCommands.AddTo(root);
        ClusterCommands.AddTo(root);
        ModuleCommands.AddTo(root);
        StatusCommands.AddTo(root);
        var parsed = root.Parse(args);
        var code = await parsed.InvokeAsync();
        return parsed.Errors.Count > 0 ? Usage : code;
    }

    /// <summary>Makes a command that talks to the server; what fails is printed as code, what, impact, cause and action.</summary>
    internal static void SetApiAction(this Command command, Func<ParseResult, ApiClient, CancellationToken, Task<int>> action) =>
        command.SetAction(async (parsed, cancel) =>
        {
            try
            {
                using var api = new ApiClient(new ApiAccess(
                    parsed.GetRequiredValue(Server), parsed.GetRequiredValue(TokenFile), parsed.GetRequiredValue(CaFile)));
                return await action(parsed, api, cancel);
            }
            catch (CommandFailure failure)
            {
                if (parsed.GetValue(AsJson)) await Console.Error.WriteLineAsync(JsonSerializer.Serialize(failure.Problem, ApiClient.Json));
                else await Console.Error.WriteAsync(ProblemText.Of(failure.Problem, ""));
                return Failed;
            }
        });

    internal static void PrintJson<T>(T document) =>
        Console.WriteLine(JsonSerializer.Serialize(document, new JsonSerializerOptions(ApiClient.Json) { WriteIndented = true }));

    private static string FromEnvironment(string variable, string otherwise) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : otherwise;
}
