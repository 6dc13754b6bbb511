// What may cross a grain call. Orleans serializes arguments and results, or copies them inside a process; this host
// passes the objects themselves. Both give the same behaviour only for values that never change and that Orleans'
// serializer takes as they are, so this host refuses to start with anything else, and names it.

using System.Reflection;
using Orleans;
using Orleans.Runtime;
using Pollux.EmbeddedHost.Runtime;

namespace Pollux.EmbeddedHost.Contracts;

/// <summary>Verifies grain interfaces, contract types and persistent states before the host takes a call.</summary>
internal static class ContractVerifier
{
    /// <exception cref="OrleansConfigurationException">Names every violation.</exception>
    public static void Verify(GrainClasses classes, IEnumerable<Assembly> assemblies)
    {
        var problems = new List<string>();
        var types = new ContractTypes(assemblies, problems);
        foreach (var grainInterface in classes.All.SelectMany(grainClass => grainClass.Interfaces).Distinct())
            VerifyInterface(grainInterface, types, problems, seen: []);
        VerifyStates(classes, problems);
        if (problems.Count > 0)
            throw new OrleansConfigurationException($"The grain contracts are not usable:{Environment.NewLine}{string.Join(Environment.NewLine, problems.Distinct())}");
    }

    /// <summary>What is wrong with one grain interface and the types that it uses; empty if nothing is.</summary>
    public static IReadOnlyList<string> ProblemsOf(Type grainInterface, IEnumerable<Assembly> assemblies)
    {
        var problems = new List<string>();
        VerifyInterface(grainInterface, new ContractTypes(assemblies, problems), problems, seen: []);
        return problems;
    }

    private static void VerifyInterface(Type grainInterface, ContractTypes types, List<string> problems, HashSet<Type> seen)
    {
        if (!seen.Add(grainInterface))
            return;
        if (grainInterface.IsGenericType)
            problems.Add($"{grainInterface}: grain interfaces are not generic here.");
        if (typeof(IGrain).IsAssignableFrom(grainInterface) && !typeof(IGrainWithStringKey).IsAssignableFrom(grainInterface))
            problems.Add($"{grainInterface}: grain interfaces extend IGrainWithStringKey here.");
        if (!grainInterface.IsDefined(typeof(AliasAttribute)))
            problems.Add($"{grainInterface}: has no [Alias].");
        foreach (var method in grainInterface.GetMethods())
        {
            var where = $"{grainInterface.Name}.{method.Name}";
            if (method.IsGenericMethodDefinition || method.IsSpecialName || !GrainMethod.IsAwaitable(method.ReturnType))
            {
                problems.Add($"{where}: grain methods are neither generic nor properties and return Task or ValueTask.");
                continue;
            }

            if (!method.IsDefined(typeof(AliasAttribute)))
                problems.Add($"{where}: has no [Alias].");
            if (method.ReturnType.IsGenericType)
                VerifyType(method.ReturnType.GetGenericArguments()[0], $"result of {where}", method.ReturnParameter);
            foreach (var parameter in method.GetParameters())
                VerifyType(parameter.ParameterType, $"parameter '{parameter.Name}' of {where}", parameter);
        }

        void VerifyType(Type type, string where, ParameterInfo parameter)
        {
            types.Verify(type, where, parameter.IsDefined(typeof(ImmutableAttribute)));
            foreach (var observer in types.TakeObserverInterfaces())
                VerifyInterface(observer, types, problems, seen);
        }
    }

    private static void VerifyStates(GrainClasses classes, List<string> problems)
    {
        var names = new Dictionary<string, Type>();
        foreach (var grainClass in classes.All)
        {
            foreach (var (attribute, stateType) in grainClass.States)
            {
                if (!names.TryAdd(attribute.StateName, grainClass.Type))
                    problems.Add($"{grainClass.Type} and {names[attribute.StateName]} share the state name '{attribute.StateName}'; rows do not carry the class.");
                if (stateType.GetConstructor(Type.EmptyTypes) is null)
                    problems.Add($"{stateType}: a state type has a public parameterless constructor.");
                if (!stateType.IsDefined(typeof(GenerateSerializerAttribute), inherit: false))
                    problems.Add($"{stateType}: a state type has [GenerateSerializer], or Orleans writes it and cannot read it.");
            }
        }
    }
}
